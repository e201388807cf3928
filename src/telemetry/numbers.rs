//! The metrics as OTLP has them, made of our own OpenMetrics text: what a collector is sent is what Prometheus would read.

use std::str::FromStr;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::word;

/// All metrics of the text. Times are nanoseconds since 1970: when counting began, and now. What is no metric is left out.
pub(super) fn from_text(text: &str, began: u64, now: u64) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(what), Some(name), Some(said)) = (words.next(), words.next(), words.next()) else { continue };
            match what {
                "HELP" => {
                    metrics.push(Metric { name: name.to_owned(), description: said.to_owned(), ..Metric::default() });
                }
                "TYPE" => {
                    if let Some(metric) = metrics.last_mut() {
                        metric.data = empty(said);
                    }
                }
                "UNIT" => {
                    if let Some(metric) = metrics.last_mut() {
                        metric.unit = unit(said).to_owned();
                    }
                }
                _ => {}
            }
        } else if let (Some(metric), Some(sample)) = (metrics.last_mut(), Sample::parse(line)) {
            sample.add_to(metric, began, now);
        }
    }
    metrics.retain(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => !gauge.data_points.is_empty(),
        Some(Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => false,
    });
    for metric in &mut metrics {
        if let Some(Data::Histogram(histogram)) = &mut metric.data {
            histogram.data_points.iter_mut().for_each(apart);
        }
    }
    metrics
}

/// OpenMetrics' names of units in UCUM, which OTLP uses.
fn unit(name: &str) -> &str {
    match name {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    }
}

fn empty(kind: &str) -> Option<Data> {
    let cumulative = AggregationTemporality::Cumulative.into();
    match kind {
        "counter" => Some(Data::Sum(Sum { aggregation_temporality: cumulative, is_monotonic: true, ..Sum::default() })),
        "gauge" => Some(Data::Gauge(Gauge::default())),
        "histogram" => Some(Data::Histogram(Histogram { aggregation_temporality: cumulative, ..Histogram::default() })),
        _ => None,
    }
}

/// Buckets by themselves, where the text has each with all below it.
fn apart(point: &mut HistogramDataPoint) {
    let mut below = 0;
    for count in &mut point.bucket_counts {
        let all = *count;
        *count = all.saturating_sub(below);
        below = all;
    }
}

/// One line: `name{label="value",…} number`.
struct Sample<'text> {
    name: &'text str,
    labels: Vec<(&'text str, String)>,
    value: &'text str,
}

impl<'text> Sample<'text> {
    fn parse(line: &'text str) -> Option<Sample<'text>> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at_checked(end)?;
        let mut labels = Vec::new();
        if let Some(mut list) = rest.strip_prefix('{') {
            while let Some((label, after)) = list.split_once("=\"") {
                let (value, after) = quoted(after)?;
                labels.push((label, value));
                list = after.strip_prefix(',').unwrap_or(after);
                if list.starts_with('}') {
                    break;
                }
            }
            rest = list.strip_prefix('}')?;
        }
        Some(Sample { name, labels, value: rest.trim() })
    }

    fn number<T: FromStr>(&self) -> Option<T> {
        self.value.parse().ok()
    }

    fn add_to(mut self, metric: &mut Metric, began: u64, now: u64) {
        let Some(part) = self.name.strip_prefix(metric.name.as_str()) else { return };
        let bound = match self.labels.iter().position(|(label, _)| *label == "le") {
            Some(at) if part == "_bucket" => self.labels.remove(at).1.parse::<f64>().ok(),
            Some(_) | None => None,
        };
        let labels = self.labels.iter().map(|(label, value)| word(label, value.clone()));
        let attributes: Vec<KeyValue> = labels.collect();
        let number = |start_time_unix_nano, value| NumberDataPoint {
            attributes: attributes.clone(),
            start_time_unix_nano,
            time_unix_nano: now,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        match &mut metric.data {
            Some(Data::Gauge(gauge)) => {
                gauge.data_points.extend(self.number().map(|value| number(0, Value::AsDouble(value))));
            }
            Some(Data::Sum(sum)) => {
                sum.data_points.extend(self.number().map(|value| number(began, Value::AsInt(value))));
            }
            Some(Data::Histogram(histogram)) => {
                let points = &mut histogram.data_points;
                if points.last().is_none_or(|point| point.attributes != attributes) {
                    points.push(HistogramDataPoint {
                        attributes: attributes.clone(),
                        start_time_unix_nano: began,
                        time_unix_nano: now,
                        ..HistogramDataPoint::default()
                    });
                }
                let Some(point) = points.last_mut() else { return };
                match part {
                    "_sum" => point.sum = self.number(),
                    "_count" => point.count = self.number().unwrap_or_default(),
                    "_bucket" => {
                        point.bucket_counts.push(self.number().unwrap_or_default());
                        // The last bucket has no end, and is not among the bounds.
                        point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                    }
                    _ => {}
                }
            }
            Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => {}
        }
    }
}

/// A value up to the quotation mark that ends it, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;

    const TEXT: &str = "# HELP a_requests Requests.
# TYPE a_requests counter
a_requests_total{outcome=\"granted\",by=\"a \\\"b\\\", {c}\\n\"} 7
a_requests_total{outcome=\"refused\"} 0
# HELP a_age_seconds Age.
# TYPE a_age_seconds gauge
# UNIT a_age_seconds seconds
a_age_seconds inf
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
# UNIT a_time_seconds seconds
a_time_seconds_sum{backend=\"x\"} 1.5
a_time_seconds_count{backend=\"x\"} 4
a_time_seconds_bucket{le=\"0.5\",backend=\"x\"} 1
a_time_seconds_bucket{le=\"1.0\",backend=\"x\"} 3
a_time_seconds_bucket{le=\"+Inf\",backend=\"x\"} 4
a_time_seconds_sum{backend=\"y\"} 0.0
a_time_seconds_count{backend=\"y\"} 0
a_time_seconds_bucket{le=\"0.5\",backend=\"y\"} 0
a_time_seconds_bucket{le=\"+Inf\",backend=\"y\"} 0
# HELP a_nothing Never counted.
# TYPE a_nothing counter
# EOF
";

    fn label(attribute: &KeyValue) -> (&str, &str) {
        match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
            any_value::Value::StringValue(text) => (&attribute.key, text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counters_gauges_and_histograms_are_what_the_text_says() {
        let metrics = from_text(TEXT, 5, 9);
        let told: Vec<_> = metrics.iter().map(|metric| (&*metric.name, &*metric.description, &*metric.unit)).collect();
        let expected =
            [("a_requests", "Requests.", ""), ("a_age_seconds", "Age.", "s"), ("a_time_seconds", "Time.", "s")];
        assert_eq!(told, expected);

        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
        let [granted, refused] = &sum.data_points[..] else { panic!("{sum:?}") };
        assert_eq!(granted.value, Some(Value::AsInt(7)));
        assert_eq!((granted.start_time_unix_nano, granted.time_unix_nano), (5, 9));
        assert_eq!(
            granted.attributes.iter().map(label).collect::<Vec<_>>(),
            [("outcome", "granted"), ("by", "a \"b\", {c}\n")]
        );
        assert_eq!(refused.value, Some(Value::AsInt(0)));

        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(f64::INFINITY)));

        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("{metrics:?}") };
        let [first, second] = &histogram.data_points[..] else { panic!("{histogram:?}") };
        assert_eq!((first.count, first.sum), (4, Some(1.5)));
        assert_eq!((&first.bucket_counts[..], &first.explicit_bounds[..]), (&[1, 2, 1][..], &[0.5, 1.0][..]));
        assert_eq!(first.attributes.iter().map(label).collect::<Vec<_>>(), [("backend", "x")]);
        assert_eq!((&second.bucket_counts[..], second.count), (&[0, 0][..], 0));
    }

    #[test]
    fn no_text_ends_the_program() {
        for text in [
            "# HELP",
            "# TYPE a gauge",
            "a 1",
            "# HELP a b\n# TYPE a gauge\na{x=\"1 2",
            "# HELP a b\n# TYPE a counter\na{x 1",
        ] {
            assert!(from_text(text, 0, 0).is_empty(), "{text}");
        }
    }
}
