//! When a secret is to end, as somebody says it: in so long, at a moment, or never.

use std::str::FromStr;
use std::time::Duration;

use settings::moment::{DayEnd, parse_moment};
use settings::number;
use time::OffsetDateTime;

use super::{DAY, LEAST_LEFT, NotMade};

/// When a secret is to end. It has to be said: nobody gets one for ever because they forgot to ask for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// So long after it is made.
    In(Duration),
    /// At this moment.
    At(OffsetDateTime),
    /// Not by itself.
    Never,
}

/// The text says no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an end is written 90d, 12h, 2027-01-31, 2027-01-31T18:00:00Z, or never")]
pub struct NoExpiry;

impl FromStr for Expires {
    type Err = NoExpiry;

    fn from_str(text: &str) -> Result<Expires, NoExpiry> {
        match text {
            "never" => Ok(Expires::Never),
            text => match length(text) {
                Some(length) => Ok(Expires::In(length)),
                None => parse_moment(text, DayEnd::End).map(Expires::At).ok_or(NoExpiry),
            },
        }
    }
}

/// A length of time: days (`90d`), or as everywhere else with a unit (`12h`). A bare number is none: it could be meant in any unit.
pub fn length(text: &str) -> Option<Duration> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    match text.strip_suffix('d') {
        Some(days) if is_number(days) => {
            Some(Duration::from_secs(days.parse::<u32>().ok().map(u64::from)? * 24 * 3600))
        }
        Some(_) => None,
        None if is_number(text) => None,
        None => number::duration(text).ok(),
    }
}

impl Expires {
    /// The moment, for a secret that is made now and may live for `longest`.
    ///
    /// # Errors
    /// It is over before it begins or before it could be used, or lives too long.
    pub fn end(self, longest: Option<Duration>, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, NotMade> {
        let too_long = |longest: Duration| NotMade::TooLong { days: longest.as_secs() / DAY };
        let end = match self {
            Expires::Never => return longest.map_or(Ok(None), |longest| Err(too_long(longest))),
            Expires::At(end) => end,
            Expires::In(length) => {
                let length = time::Duration::try_from(length).map_err(|_| NotMade::NoEnd)?;
                now.checked_add(length).filter(settings::moment::can_be_written).ok_or(NotMade::NoEnd)?
            }
        };
        if end <= now {
            return Err(NotMade::Over);
        }
        if end - now < LEAST_LEFT {
            return Err(NotMade::TooBrief);
        }
        match longest {
            Some(longest)
                if end > now.saturating_add(time::Duration::try_from(longest).unwrap_or(time::Duration::MAX)) =>
            {
                Err(too_long(longest))
            }
            // Whole seconds, as every store keeps them.
            Some(_) | None => Ok(Some(end.replace_nanosecond(0).unwrap_or(end))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_lengths_dates_moments_or_never() {
        let at = |text| parse_moment(text, DayEnd::End).map(Expires::At).ok_or(NoExpiry);
        for (text, expected) in [
            ("never", Ok(Expires::Never)),
            ("90d", Ok(Expires::In(Duration::from_secs(90 * DAY)))),
            ("12h", Ok(Expires::In(Duration::from_secs(12 * 3600)))),
            ("1h30m", Ok(Expires::In(Duration::from_secs(5400)))),
            ("2027-01-31", at("2027-02-01T00:00:00Z")),
            ("2027-01-31T18:00:00Z", at("2027-01-31T18:00:00Z")),
            ("", Err(NoExpiry)),
            ("90", Err(NoExpiry)),
            ("d", Err(NoExpiry)),
            ("1.5d", Err(NoExpiry)),
            ("-1d", Err(NoExpiry)),
            ("99999999999d", Err(NoExpiry)),
            ("Never", Err(NoExpiry)),
            ("tomorrow", Err(NoExpiry)),
        ] {
            assert_eq!(text.parse::<Expires>(), expected, "{text}");
        }
    }

    #[test]
    fn no_secret_lives_longer_than_the_cap_nor_is_over_at_once() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let cap = Some(Duration::from_secs(30 * 24 * 3600));
        let days = |days| now + time::Duration::days(days);
        for (asked, longest, expected) in [
            (Expires::In(Duration::from_secs(60)), None, Ok(Some(now + time::Duration::seconds(60)))),
            (Expires::At(days(30)), cap, Ok(Some(days(30)))),
            (Expires::At(days(31)), cap, Err(NotMade::TooLong { days: 30 }.to_string())),
            (Expires::Never, cap, Err(NotMade::TooLong { days: 30 }.to_string())),
            (Expires::Never, None, Ok(None)),
            (Expires::In(Duration::from_secs(59)), None, Err(NotMade::TooBrief.to_string())),
            (Expires::At(now), None, Err(NotMade::Over.to_string())),
            (Expires::In(Duration::ZERO), None, Err(NotMade::Over.to_string())),
            (Expires::In(Duration::MAX), None, Err(NotMade::NoEnd.to_string())),
        ] {
            assert_eq!(asked.end(longest, now).map_err(|error| error.to_string()), expected, "{asked:?}");
        }
    }
}
