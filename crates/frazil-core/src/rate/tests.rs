//! The laws of the bucket, with a clock that is passed.

use proptest::prelude::*;

use super::*;

fn rate(per_second: u64, burst: u64) -> Rate {
    Rate::new(per_second, Some(burst)).expect("in bounds")
}

/// One request: how long after the one before, in microseconds, and what it costs.
fn requests(cost_max: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![Just(0), 1..1_000_u64, 1_000..5_000_000_u64];
    prop::collection::vec((pause, 0..=cost_max), 1..60)
}

/// What is let in of the requests, with its times.
fn let_in(rate: Rate, requests: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut bucket, mut now, mut taken) = (Bucket::default(), 10, Vec::new());
    for (pause, cost) in requests {
        now += pause;
        if bucket.wait(rate, *cost, now).is_zero() {
            bucket.take(rate, *cost, now);
            taken.push((now, *cost));
        }
    }
    taken
}

proptest! {
    /// 1. In any stretch of time at most the burst and what flowed meanwhile is let in, if no request is above the burst.
    #[test]
    fn never_more_than_burst_and_rate(per_second in 1..500_u64, burst in 1..100_u64, raw in requests(100)) {
        let rate = rate(per_second, burst);
        let small: Vec<_> = raw.into_iter().map(|(pause, cost)| (pause, cost.min(burst))).collect();
        let taken = let_in(rate, &small);
        for (first, (begin, _)) in taken.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &taken[first..] {
                sum += cost * MICRO;
                prop_assert!(sum <= burst * MICRO + per_second * (at - begin));
            }
        }
    }

    /// 2. With larger requests, the same holds of everything before the last one: a debt is paid before anybody gets in.
    #[test]
    fn large_requests_are_paid_for(per_second in 1..500_u64, burst in 1..50_u64, raw in requests(1_000)) {
        let rate = rate(per_second, burst);
        let taken = let_in(rate, &raw);
        for (first, (begin, _)) in taken.iter().enumerate() {
            let mut before = 0;
            for (at, cost) in &taken[first..] {
                prop_assert!(before + cost.min(&burst) * MICRO <= burst * MICRO + per_second * (at - begin));
                before += cost * MICRO;
            }
        }
    }

    /// 3. The wait is truthful: a request gets in when it is over, and not a microsecond before.
    #[test]
    fn the_wait_is_exact(
        per_second in 1..5_000_000_u64, burst in 1..1_000_000_u64, spent in 0..3_000_000_u64, cost in 0..2_000_000_u64,
    ) {
        let rate = rate(per_second, burst);
        let mut bucket = Bucket::default();
        bucket.take(rate, spent, 7);
        let wait = u64::try_from(bucket.wait(rate, cost, 7).as_micros()).expect("small");
        prop_assert!(bucket.wait(rate, cost, 7 + wait).is_zero());
        if wait > 0 {
            prop_assert!(!bucket.wait(rate, cost, 7 + wait - 1).is_zero());
        }
    }

    /// 4. Asking changes nothing, a clock that goes back gives nothing, and a full bucket is as a new one.
    #[test]
    fn time_only_goes_forward(per_second in 1..1_000_u64, spent in 1..1_000_u64, back in 1..1_000_000_u64) {
        let rate = rate(per_second, 10);
        let mut bucket = Bucket::default();
        bucket.take(rate, spent, 2_000_000);
        let debt = bucket.debt(rate, 2_000_000);
        prop_assert_eq!(bucket.debt(rate, 2_000_000 - back), debt);
        bucket.take(rate, 0, 2_000_000 - back);
        prop_assert_eq!(bucket.debt(rate, 2_000_000), debt);
        let over = 2_000_000 + (spent * MICRO).div_ceil(per_second);
        prop_assert!(bucket.is_full(rate, over) && !bucket.is_full(rate, 2_000_000));
        prop_assert_eq!(bucket.wait(rate, 10, over), Bucket::default().wait(rate, 10, over));
    }

    /// 5. The extremes do not overflow.
    #[test]
    fn extremes(cost in any::<u64>(), at in any::<u64>(), now in any::<u64>(), per_second in 1..=RATE_MAX) {
        let rate = rate(per_second, RATE_MAX);
        let mut bucket = Bucket::owing(0, at);
        bucket.take(rate, cost, now);
        let at_most = Duration::from_micros((RATE_MAX + cost.min(u64::MAX / MICRO)).saturating_mul(MICRO));
        prop_assert!(bucket.wait(rate, 1, now) <= at_most.max(Duration::from_micros(u64::MAX)));
    }
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    assert_eq!(Rate::new(7, None).expect("valid").burst(), 7);
    for (per_second, burst, message) in [
        (0, None, "a rate per second must be 1 to 4000000000, not 0"),
        (1, Some(0), "a burst must be 1 to 4000000000, not 0"),
        (RATE_MAX + 1, Some(1), "a rate per second must be 1 to 4000000000, not 4000000001"),
    ] {
        assert_eq!(Rate::new(per_second, burst).expect_err("out of bounds").to_string(), message);
    }
}

#[test]
fn stored_forms() {
    let limits = RateLimits { events: Some(rate(5, 10)), bytes: None };
    let text = serde_json::to_string(&limits).expect("plain values");
    assert_eq!(text, r#"{"events":{"per_second":5,"burst":10}}"#);
    assert_eq!(serde_json::from_str::<RateLimits>(&text).expect("own form"), limits);
    assert!(serde_json::from_str::<RateLimits>("{}").expect("nothing").is_unlimited());
    for bad in [r#"{"events":{"per_second":0,"burst":1}}"#, r#"{"events":{"per_second":1}}"#, r#"{"requests":1}"#] {
        assert!(serde_json::from_str::<RateLimits>(bad).is_err(), "{bad}");
    }
}
