//! How often rules decided, in SQL.

use async_trait::async_trait;

use super::SqlRecords;
use crate::records::Failure;
use crate::records::rule_uses::{Day, RuleCounts, RuleUse, RuleUses, kept};
use crate::sql::{Step, Written};

#[async_trait]
impl RuleUses for SqlRecords {
    async fn add_rule_uses(&self, counts: &RuleCounts) -> Result<(), Failure> {
        let sql = "INSERT INTO dockwarden_rule_uses (rule, day, uses) VALUES ($1, $2, $3) \
                   ON CONFLICT (rule, day) DO UPDATE SET uses = dockwarden_rule_uses.uses + excluded.uses";
        let steps: Vec<Step> = counts
            .iter()
            .map(|((rule, day), uses)| {
                let uses = i64::try_from(*uses).unwrap_or(i64::MAX);
                Step::any(sql, vec![rule.to_string().into(), day.0.into(), uses.into()])
            })
            .collect();
        if !steps.is_empty() {
            self.write(&steps).await?;
        }
        Ok(())
    }

    async fn rule_uses(&self) -> Result<Vec<RuleUse>, Failure> {
        let sql = "SELECT rule, MIN(day), MAX(day), CAST(SUM(uses) AS BIGINT) FROM dockwarden_rule_uses GROUP BY rule \
                   ORDER BY rule";
        let rows = self.read(sql, &[]).await?;
        rows.iter().map(|row| kept(row.text(0)?, row.integer(1)?, row.integer(2)?, row.integer(3)?)).collect()
    }

    async fn forget_rule_uses(&self, before: Day) -> Result<u64, Failure> {
        let step = Step::any("DELETE FROM dockwarden_rule_uses WHERE day < $1", vec![before.0.into()]);
        match self.write(&[step]).await? {
            Written::Applied(counts) => Ok(counts.into_iter().sum()),
            Written::Unmet { .. } | Written::Duplicate { .. } => Ok(0),
        }
    }
}
