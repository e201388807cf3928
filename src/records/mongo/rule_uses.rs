//! How often rules decided, in MongoDB: a document for each rule and day.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mongodb::bson::doc;

use super::documents::{integer, text};
use super::{MongoRecords, unless_duplicate};
use crate::records::Failure;
use crate::records::rule_uses::{Day, RuleCounts, RuleUse, RuleUses, kept};

/// The collection.
const RULE_USES: &str = "dockwarden_rule_uses";
/// How many documents are read at once.
const PAGE: i64 = 1000;

#[async_trait]
impl RuleUses for MongoRecords {
    async fn add_rule_uses(&self, counts: &RuleCounts) -> Result<(), Failure> {
        for ((rule, day), uses) in counts {
            let id = format!("{rule}/{:08}", day.0);
            let uses = i64::try_from(*uses).unwrap_or(i64::MAX);
            // Of two that add the first use of a day at once, one may be told that it is there already.
            loop {
                let added = self.ask(RULE_USES, |all| {
                    let (which, rule) = (doc! { "_id": &id }, rule.to_string());
                    let change = doc! { "$inc": { "uses": uses }, "$setOnInsert": { "rule": rule, "day": day.0 } };
                    async move { unless_duplicate(all.update_one(which, change).upsert(true).await) }
                });
                if added.await?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn rule_uses(&self) -> Result<Vec<RuleUse>, Failure> {
        let mut found: BTreeMap<_, RuleUse> = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = self.find_some(RULE_USES, doc! { "_id": { "$gt": &after } }, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found.into_values().collect()) };
            after = text(last, "_id", RULE_USES)?;
            for document in &page {
                let day = integer(document, "day", RULE_USES)?;
                let rule = text(document, "rule", RULE_USES)?;
                let one = kept(&rule, day, day, integer(document, "uses", RULE_USES)?)?;
                let all = found.entry(one.rule).or_insert(RuleUse { uses: 0, ..one });
                all.first = all.first.min(one.first);
                all.last = all.last.max(one.last);
                all.uses = all.uses.saturating_add(one.uses);
            }
        }
    }

    async fn forget_rule_uses(&self, before: Day) -> Result<u64, Failure> {
        self.ask(RULE_USES, |all| async move {
            all.delete_many(doc! { "day": { "$lt": before.0 } }).await.map(|done| done.deleted_count)
        })
        .await
    }
}
