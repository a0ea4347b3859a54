//! Rate limits as flags, the same for streams and tokens.

use clap::Args;
use frazil_core::rate::{Rate, RateError, RateLimits};

use crate::exit::Failure;
use crate::units::Size;

/// Rate limits; what is not given is left as it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rate limits (of each proxy, unless proxies share them through Redis)")]
pub(crate) struct LimitArgs {
    /// Most events a second on average; more are answered with 429 [default: no limit]
    #[arg(long, value_name = "N")]
    max_events_per_second: Option<u64>,
    /// Most events at once [default: those of a second]
    #[arg(long, value_name = "N")]
    events_burst: Option<u64>,
    /// Most bytes of events a second on average, such as 5MB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    max_bytes_per_second: Option<Size>,
    /// Most bytes of events at once [default: those of a second]
    #[arg(long, value_name = "SIZE")]
    bytes_burst: Option<Size>,
}

impl LimitArgs {
    /// Changes what is given. A new rate without a burst has the burst of a second.
    ///
    /// # Errors
    /// A usage failure for numbers out of bounds, and for a burst of what is not limited.
    pub(crate) fn apply(&self, limits: &mut RateLimits) -> Result<(), Failure> {
        let bytes = |size: Option<Size>| size.map(|size| size.0);
        change(&mut limits.events, self.max_events_per_second, self.events_burst, "events")?;
        change(&mut limits.bytes, bytes(self.max_bytes_per_second), bytes(self.bytes_burst), "bytes")
    }
}

fn change(limit: &mut Option<Rate>, rate: Option<u64>, burst: Option<u64>, unit: &str) -> Result<(), Failure> {
    let refused = |error: RateError| Failure::usage(anyhow::anyhow!("the limit of {unit}: {error}"));
    let per_second = match (rate.or(limit.map(Rate::per_second)), rate.or(burst)) {
        (_, None) => return Ok(()),
        (Some(per_second), Some(_)) => per_second,
        (None, Some(_)) => {
            return Err(Failure::usage(anyhow::anyhow!("--{unit}-burst needs a limit: say --max-{unit}-per-second")));
        }
    };
    *limit = Some(Rate::new(per_second, burst).map_err(refused)?);
    Ok(())
}

/// Both limits on one line of a table.
pub(crate) fn brief(limits: &RateLimits) -> String {
    let of = |limit: Option<Rate>, unit: &str| limit.map(|rate| format!("{} {unit}/s", rate.per_second()));
    let given: Vec<_> = [of(limits.events, "events"), of(limits.bytes, "bytes")].into_iter().flatten().collect();
    if given.is_empty() { "none".to_owned() } else { given.join(", ") }
}

/// A limit as people read it.
pub(crate) fn shown(limit: Option<Rate>) -> String {
    limit.map_or_else(|| "none".to_owned(), |rate| format!("{}, {} at once", rate.per_second(), rate.burst()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn apply(limits: &mut RateLimits, line: &str) -> Result<(), String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).map_err(|e| e.to_string())?;
        line.limits.apply(limits).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut limits = RateLimits::default();
        apply(&mut limits, "").expect("nothing");
        assert!(limits.is_unlimited());
        apply(&mut limits, "--max-events-per-second 10 --max-bytes-per-second 1MB --bytes-burst 5MB").expect("valid");
        assert_eq!(shown(limits.events), "10, 10 at once");
        assert_eq!(shown(limits.bytes), "1000000, 5000000 at once");
        apply(&mut limits, "--events-burst 100").expect("valid");
        assert_eq!(shown(limits.events), "10, 100 at once");
        apply(&mut limits, "--max-events-per-second 20").expect("valid");
        assert_eq!(shown(limits.events), "20, 20 at once");
        assert_eq!(shown(limits.bytes), "1000000, 5000000 at once");
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (line, words) in [
            ("--max-events-per-second 0", "1 to 4000000000"),
            ("--max-bytes-per-second 5TB", "the limit of bytes"),
            ("--events-burst 5", "--max-events-per-second"),
            ("--max-events-per-second 5 --events-burst 0", "a burst"),
            ("--max-events-per-second -1", "-1"),
        ] {
            let error = apply(&mut RateLimits::default(), line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
