//! The rules alone, in this process: what a decision takes, without the request around it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dockwarden::authn::{Account, Identity};
use dockwarden::authz::rules::Rules;
use dockwarden::config::{Config, Secrets};
use hdrhistogram::Histogram;
use policy::acl::Acl;
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Scope, parse_actions};
use policy::{Answer, Budget, Question};
use time::OffsetDateTime;

use crate::bed::{self, Asked};
use crate::figures::Outcome;

use super::Run;

/// Different questions that are asked in turn.
const QUESTIONS: usize = 2000;

/// The rules of a configuration text.
pub fn compile(rules: &str) -> anyhow::Result<Arc<Acl>> {
    let text = format!(
        "server: {{addr: \"127.0.0.1:0\"}}\ntoken: {{issuer: bench, certificate: none, key: none}}\nusers: {{\"\": {{}}}}\n\
         acl:\n{rules}"
    );
    let config = Config::read(Path::new("bench.yml"), &text, [], Secrets::Skip)
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    Ok(Arc::clone(&config.backends.get::<Rules>().context("there are no rules")?.acl))
}

/// How long decisions take.
pub fn time(acl: &Acl, questions: &[(Identity, Scope)], lasts: Duration) -> anyhow::Result<Histogram<u64>> {
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let now = OffsetDateTime::now_utc();
    // What was decided before the first tenth of the time is over is not counted: patterns remember, and so do caches.
    let began = Instant::now();
    while began.elapsed() < lasts {
        for (identity, scope) in questions {
            let warm = began.elapsed() < lasts / 10;
            if began.elapsed() >= lasts && !took.is_empty() {
                break;
            }
            let question = Question {
                account: identity.name(),
                labels: &identity.labels,
                address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                service: bed::SERVICE,
                resource: &scope.resource,
                actions: &scope.actions,
                reference: None,
                now,
            };
            let from = Instant::now();
            let answer = std::hint::black_box(acl.decide(std::hint::black_box(&question), &mut Budget::for_request()));
            let nanoseconds = from.elapsed().as_nanos();
            if let Err(cause) = answer {
                bail!("no decision: {cause}");
            }
            if !warm {
                took.saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX).max(1));
            }
        }
    }
    Ok(took)
}

/// A question as the rules are asked it.
fn question(asked: &Asked, labels: &Arc<LabelValues>) -> anyhow::Result<(Identity, Scope)> {
    let account = Account::parse_or_anonymous(&asked.account)?;
    let identity = Identity { account, labels: Arc::clone(labels), ..Identity::default() };
    let scope = Scope::parse(&format!("repository:{}:pull,push", asked.name));
    Ok((identity, scope.ok().with_context(|| format!("{} is no name", asked.name))?))
}

/// The questions to a mix of so many rules, with the labels that accounts have.
pub fn questions(rules: usize) -> anyhow::Result<Vec<(Identity, Scope)>> {
    let teams = ["web", "api"].map(LabelValue::glob).into_iter().collect::<Result<Vec<_>, _>>()?;
    let labels = Arc::new(LabelValues::from([("team".to_owned(), teams)]));
    bed::questions(rules, QUESTIONS).iter().map(|asked| question(asked, &labels)).collect()
}

/// A few rules against many.
pub fn measure(run: &Run, few: usize, many: usize) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut median = |rules: usize, name: &str| -> anyhow::Result<f64> {
        let began = Instant::now();
        let acl = compile(&bed::rules(rules))?;
        let compiled = began.elapsed();
        let took = time(&acl, &questions(rules)?, run.lasts / 2)?;
        let microseconds = |percent: f64| took.value_at_quantile(percent) as f64 / 1e3;
        outcome.add(format!("{name}_p50_us"), microseconds(0.5));
        outcome.add(format!("{name}_p99_us"), microseconds(0.99));
        outcome.add(format!("{name}_p999_us"), microseconds(0.999));
        outcome.add(format!("{name}_compiled_ms"), compiled.as_secs_f64() * 1e3);
        outcome.latencies.insert(name.to_owned(), took.clone());
        Ok(microseconds(0.5))
    };
    let little = median(few, "few")?;
    let much = median(many, "many")?;
    outcome.add("p50_ratio", much / little);
    Ok(outcome)
}

/// One rule with three placeholders, of which each has so many values; what matches, what nearly does, and what does not.
pub fn measure_labels(run: &Run, values: usize) -> anyhow::Result<Outcome> {
    let acl = compile("  - {match: {name: \"${labels:a}/${labels:b}/${labels:c}\"}, actions: [pull]}\n")?;
    let label = |letter: &str| -> anyhow::Result<(String, Vec<LabelValue>)> {
        let texts = (0..values).map(|number| LabelValue::glob(&format!("{letter}{number}")));
        Ok((letter.to_owned(), texts.collect::<Result<_, _>>()?))
    };
    let labels: LabelValues = ["a", "b", "c"].into_iter().map(label).collect::<anyhow::Result<_>>()?;
    let labels = Arc::new(labels);
    let last = values.saturating_sub(1);
    let names = [format!("a{last}/b{last}/c{last}"), format!("a{last}/b{last}/x"), "x/y/z".to_owned()];
    let questions: Vec<_> = names
        .iter()
        .map(|name| question(&Asked { account: "somebody".to_owned(), name: name.clone() }, &labels))
        .collect::<anyhow::Result<_>>()?;
    if let Some((identity, scope)) = questions.first() {
        let question = Question {
            account: identity.name(),
            labels: &identity.labels,
            address: None,
            service: bed::SERVICE,
            resource: &scope.resource,
            actions: &parse_actions(["pull"]),
            reference: None,
            now: OffsetDateTime::now_utc(),
        };
        if !matches!(acl.decide(&question, &mut Budget::for_request()), Ok(Answer::Decided { .. })) {
            bail!("the rule with labels does not match what it should");
        }
    }
    let took = time(&acl, &questions, run.lasts / 2)?;
    let mut outcome = Outcome::default();
    outcome.add("p50_us", took.value_at_quantile(0.5) as f64 / 1e3);
    outcome.add("p99_us", took.value_at_quantile(0.99) as f64 / 1e3);
    outcome.latencies.insert("labels".to_owned(), took);
    Ok(outcome)
}
