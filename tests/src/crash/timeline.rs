//! Gaps and recovery times, from the times at which something went well.

/// A stretch of time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Begin.
    pub(super) from_ms: u64,
    /// End.
    pub(super) to_ms: u64,
}

/// The longest time within the span without one of the sorted times, in milliseconds.
pub(super) fn longest_gap_ms(times: &[u64], span: Span) -> u64 {
    let within = times.iter().copied().filter(|at| (span.from_ms..=span.to_ms).contains(at));
    let points: Vec<u64> = [span.from_ms].into_iter().chain(within).chain([span.to_ms]).collect();
    points.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Time from `at` to the first of the sorted times after it, in milliseconds; none if there is none.
pub(super) fn until_next_ms(times: &[u64], at: u64) -> Option<u64> {
    let next = times.partition_point(|time| *time < at);
    times.get(next).map(|time| time - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_count_from_begin_to_end() {
        let span = Span { from_ms: 100, to_ms: 200 };
        assert_eq!(longest_gap_ms(&[], span), 100);
        assert_eq!(longest_gap_ms(&[50, 130, 140, 190, 300], span), 50);
        assert_eq!(longest_gap_ms(&[110, 120], span), 80);
    }

    #[test]
    fn recovery_ends_with_the_next_time() {
        assert_eq!(until_next_ms(&[10, 20], 10), Some(0));
        assert_eq!(until_next_ms(&[10, 20], 11), Some(9));
        assert_eq!(until_next_ms(&[10, 20], 21), None);
    }
}
