//! The latencies of a run as one picture: how long the slowest part in a hundred, a thousand, ten thousand took.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::report::{Report, number};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 330.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;
/// Colours that are told apart in print and by eyes that see no red.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999"];
/// The share that is slower, on the horizontal axis: from half of all to one in ten thousand.
const DECADES: f64 = 4.0;

/// The picture, as SVG.
pub fn latencies(report: &Report<'_>) -> String {
    let curves: Vec<(String, &Histogram<u64>)> = report
        .entries
        .iter()
        .flat_map(|entry| {
            entry.outcome.latencies.iter().filter(|(_, took)| !took.is_empty()).map(move |(name, took)| {
                (format!("{} {name} ({})", entry.row.name, entry.program).replace("  ", " "), took)
            })
        })
        .collect();
    let least = curves.iter().map(|(_, took)| took.min().max(1)).min().unwrap_or(1);
    let most = curves.iter().map(|(_, took)| took.max()).max().unwrap_or(1_000_000);
    let (low, high) = ((least as f64).log10().floor(), (most as f64).log10().ceil());
    let x = |decade: f64| LEFT + (WIDTH - LEFT - RIGHT) * decade / DECADES;
    let y = |nanoseconds: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - nanoseconds.log10()) / (high - low).max(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for decade in 0..=DECADES as i32 {
        let at = x(f64::from(decade));
        let percent = 100.0 * (1.0 - 10_f64.powi(-decade));
        writeln!(svg, "<path d=\"M{at} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{percent}%</text>", bottom + 18.0).ok();
    }
    let mut decade = low;
    while decade <= high {
        let at = y(10_f64.powf(decade));
        let label = number(10_f64.powf(decade - 6.0));
        writeln!(svg, "<path d=\"M{LEFT} {at}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label} ms</text>", LEFT - 6.0, at + 4.0).ok();
        decade += 1.0;
    }
    for (index, (name, took)) in curves.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"black");
        let dashes = ["none", "6 3", "2 2"].get(index / COLOURS.len()).unwrap_or(&"1 4");
        let mut path = String::new();
        for step in 0..=80 {
            let decade = DECADES * f64::from(step) / 80.0;
            let share = 10_f64.powf(-decade);
            // Where there are fewer requests than that, the curve ends.
            if share * (took.len() as f64) < 1.0 && step > 0 {
                break;
            }
            let value = took.value_at_quantile(1.0 - share).max(1) as f64;
            write!(path, "{}{:.1} {:.1}", if step == 0 { "M" } else { "L" }, x(decade), y(value)).ok();
        }
        writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-dasharray=\"{dashes}\"/>"
        )
        .ok();
        let at = TOP + 16.0 * index as f64;
        writeln!(svg, "<path d=\"M{} {at}h24\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"{}\">{name}</text>", right + 14.0, right + 44.0, at + 4.0).ok();
    }
    svg.push_str("</svg>\n");
    svg
}
