//! The limits of one proxy: claims, what is drawn, what is remembered. The arithmetic is the core's.

use frazil_core::token::{Token, TokenRecord};
use frazil_log::Directory;

use super::*;

fn rate(per_second: u64, burst: u64) -> Rate {
    Rate::new(per_second, Some(burst)).expect("in bounds")
}

fn claim(name: &str, cost: u64) -> Claim {
    Claim { key: Key { scope: Scope::Token, unit: Unit::Events, name: name.into() }, rate: rate(1, 10), cost }
}

#[test]
fn all_or_nothing_is_drawn_and_the_longest_wait_is_told() {
    let local = Local::default();
    assert_eq!(local.take(&[claim("a", 10), claim("b", 4)], 0), Ok(()));
    let refused = local.take(&[claim("b", 5), claim("a", 3)], 0).expect_err("a is empty");
    assert_eq!((refused.wait, refused.retry_after()), (Duration::from_secs(3), 3));
    assert_eq!(local.check(&[claim("b", 6)], 0), Ok(()), "nothing was drawn from b");
    assert_eq!(local.take(&[claim("b", 6), claim("a", 3)], 3_000_000), Ok(()));
}

#[test]
fn what_redis_said_last_is_what_a_proxy_goes_on_with() {
    let local = Local::default();
    local.adopt(&[claim("a", 0)], &[10_000_000], 5);
    assert_eq!(local.check(&[claim("a", 1)], 5).expect_err("empty").retry_after(), 1);
    local.adopt(&[claim("a", 0)], &[0], 6);
    assert_eq!(local.take(&[claim("a", 10)], 6), Ok(()));
}

#[test]
fn full_buckets_are_forgotten() {
    let local = Local::default();
    for at in 0..5_000_u64 {
        // Every one has paid its debt a second later.
        let name = format!("t{at}");
        assert_eq!(local.take(&[claim(&name, 1)], at * 10_000), Ok(()));
    }
    assert!(local.len() <= 1025, "{} are remembered", local.len());
}

#[test]
fn waits_are_told_in_whole_seconds() {
    for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
        let limited = claim("a", 1).limited(Duration::from_millis(millis));
        assert_eq!(limited.retry_after(), secs, "{millis} ms");
    }
}

#[tokio::test]
async fn without_limits_nothing_is_asked_or_kept() {
    let token = Token::from_random([1; 6], [2; 32]);
    let mut record = TokenRecord {
        id: token.id().to_owned(),
        name: "t".to_owned(),
        hash: token.hash(),
        streams: Vec::new(),
        tables: Vec::new(),
        created: 0,
        expires: None,
        limits: RateLimits::default(),
    };
    let caller = |record: &TokenRecord| {
        let directory = Directory::fixed(Vec::new(), [record.clone()]);
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", token.reveal().parse().expect("ASCII"));
        crate::auth::authenticate(&headers, &directory, 0).expect("known")
    };
    let stream = StreamDefinition::new("sales".parse().expect("valid"), 1);
    // Nobody listens there: asked, it would count.
    let metrics = RateMetrics::default();
    let rates = Rates::new(Some(&SharedLimits::at("redis://127.0.0.1:1")), metrics.clone());
    let cost = Cost { events: 1_000_000, bytes: 1_000_000 };
    rates.take(&caller(&record), &stream, cost).await.expect("no limit");
    assert_eq!(rates.local.len(), 0);
    record.limits.events = Some(rate(1, 5));
    let limited = caller(&record);
    rates.take(&limited, &stream, Cost { events: 5, bytes: 9 }).await.expect("decided alone");
    let refusal = rates.check(&limited, &stream, Cost { events: 1, bytes: 1 }).expect_err("empty");
    assert_eq!(refusal.shape().retry_after, Some(1));
    assert_eq!(metrics.shared.get_or_create(&crate::metrics::OutcomeLabel { outcome: "error" }).get(), 1);
}
