//! Numbers over time as lines in SVG, which browsers draw without script.

use plotters::prelude::*;

/// How wide and how high a plot is.
const SIZE: (u32, u32) = (480, 140);

/// What came how often; the last number is that of now.
///
/// Its colours are those of the page, which the style gives: a plot of its own would be black on black in the dark.
pub(super) fn line(numbers: &[u64], hours: i32) -> Option<String> {
    let most = numbers.iter().copied().max().unwrap_or_default().max(1);
    let mut text = String::new();
    draw(&mut text, numbers, (most, hours)).ok()?;
    Some(text)
}

fn draw(text: &mut String, numbers: &[u64], (most, hours): (u64, i32)) -> anyhow::Result<()> {
    // What it says of itself goes with the text, which somebody else holds then.
    let told = |cause: &dyn std::error::Error| anyhow::anyhow!("{cause}");
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(20)
        .margin_bottom(4)
        .x_label_area_size(24)
        .y_label_area_size(40)
        // With room above the highest point.
        .build_cartesian_2d(f64::from(-hours)..0.0, 0..most.saturating_add(most.div_ceil(8)))
        .map_err(|cause| told(&cause))?;
    let hour = |hours: &f64| if *hours < 0.0 { format!("{hours:.0} h") } else { "now".to_owned() };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).x_labels(7).y_labels(4).x_label_formatter(&hour);
    mesh.draw().map_err(|cause| told(&cause))?;
    let steps = f64::from(u32::try_from(numbers.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1));
    let points = (0_u32..).zip(numbers).map(|(at, number)| ((f64::from(at) / steps - 1.0) * f64::from(hours), *number));
    chart.draw_series(LineSeries::new(points, BLACK.stroke_width(2))).map_err(|cause| told(&cause))?;
    root.present().map_err(|cause| told(&cause))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_plot_is_small_and_has_neither_style_nor_script() {
        for numbers in [vec![], vec![0; 144], (0..144).map(|at| at * at * 1_000_003).collect::<Vec<u64>>()] {
            let text = line(&numbers, 24).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
            assert!(!text.contains("style=") && !text.contains("<script") && !text.contains(" id="), "{text}");
            assert!(text.len() < 6_000, "{}: {text}", text.len());
        }
    }
}
