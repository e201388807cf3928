//! What a row brought: figures with their units, and whether they are enough.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::Measured;
use crate::scenario::Bar;

/// A measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name, with the unit.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// What came of one row with one program.
#[derive(Default)]
pub struct Outcome {
    /// The figures, in the order in which they are shown.
    pub figures: Vec<Figure>,
    /// Latencies for the plot, by name, in nanoseconds.
    pub latencies: BTreeMap<String, Histogram<u64>>,
    /// What one has to know about this run.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push(Figure { name: name.into(), value });
    }

    /// A figure's value.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// Adds the percentiles of a load, and says what failed.
    pub fn add_latency(&mut self, name: &str, measured: &Measured) {
        for (percent, text) in [(50.0, "p50"), (99.0, "p99")] {
            let separator = if name.is_empty() { "" } else { "_" };
            // Where nothing was answered, no bar is met.
            let latency = match measured.latency.is_empty() {
                true => f64::NAN,
                false => milliseconds(measured.percentile(percent)),
            };
            self.add(format!("{name}{separator}{text}_ms"), latency);
        }
        self.latencies.insert(name.to_owned(), measured.latency.clone());
        if measured.failures() > 0 {
            let statuses: Vec<String> =
                measured.statuses.iter().map(|(status, count)| format!("{count} of {status}")).collect();
            self.notes.push(format!(
                "answers: {}; {} connections broke, {} unanswered",
                statuses.join(", "),
                measured.broken,
                measured.unanswered
            ));
        }
    }
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A duration in microseconds.
pub fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It was not measured.
    Unknown,
}

impl Bar {
    /// Whether `value` is enough.
    pub fn met(&self, value: Option<f64>) -> Met {
        let Some(value) = value else { return Met::Unknown };
        let enough = self.at_least.is_none_or(|least| value >= least) && self.at_most.is_none_or(|most| value <= most);
        if enough { Met::Yes } else { Met::No }
    }

    /// The bar in words.
    pub fn words(&self) -> String {
        let least = self.at_least.map(|least| format!("at least {least}"));
        let most = self.at_most.map(|most| format!("at most {most}"));
        least.into_iter().chain(most).collect::<Vec<_>>().join(" and ")
    }
}
