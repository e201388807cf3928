//! Dates and times as a file writes them.

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, Time, UtcOffset};

/// Which end of a day a bare date stands for.
#[derive(Clone, Copy)]
pub enum DayEnd {
    /// `not_before: 2026-12-01` begins with that day.
    Start,
    /// `not_after: 2026-12-31` holds to the end of that day.
    End,
}

/// Reads a moment as [`Section::moment`](crate::Section::moment) does, in UTC; `None` where it is not one, or cannot be written down again
/// ([`can_be_written`]).
pub fn parse_moment(text: &str, day: DayEnd) -> Option<OffsetDateTime> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return moment.checked_to_offset(UtcOffset::UTC).filter(can_be_written);
    }
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = Date::parse(text, &format).ok()?;
    let moment = match (day, date.next_day()) {
        (DayEnd::Start, _) => OffsetDateTime::new_utc(date, Time::MIDNIGHT),
        (DayEnd::End, Some(next)) => OffsetDateTime::new_utc(next, Time::MIDNIGHT),
        // 9999-12-31, by which many mean "never".
        (DayEnd::End, None) => OffsetDateTime::new_utc(date, Time::MAX),
    };
    Some(moment).filter(can_be_written)
}

/// Whether a moment has a year of four digits, as RFC 3339 (section 5.6) writes it: rules are exported so.
pub fn can_be_written(moment: &OffsetDateTime) -> bool {
    (0..=9999).contains(&moment.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_far_as_they_can_be_written_down_again() {
        let (start, end) = (DayEnd::Start, DayEnd::End);
        for (text, day, expected) in [
            ("2026-12-31", start, Some("2026-12-31T00:00:00Z")),
            ("2026-12-31", end, Some("2027-01-01T00:00:00Z")),
            ("2026-12-31T18:00:00Z", end, Some("2026-12-31T18:00:00Z")),
            ("2026-12-31T18:00:00.5+02:00", start, Some("2026-12-31T16:00:00.5Z")),
            ("9999-12-31", end, Some("9999-12-31T23:59:59.999999999Z")),
            ("0000-01-01", start, Some("0000-01-01T00:00:00Z")),
            ("9999-12-31T23:30:00-01:00", start, None),
            ("0000-01-01T00:30:00+01:00", start, None),
            ("-0001-01-01", start, None),
            ("2026-02-30", start, None),
            ("", start, None),
        ] {
            let read = parse_moment(text, day).and_then(|moment| moment.format(&Rfc3339).ok());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
