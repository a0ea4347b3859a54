use tonic_types::StatusExt;

use super::*;
use crate::error::{Bound, Verdicts};

fn invalid(count: usize, message: &str) -> Rejection {
    let verdict = |index| error::Verdict {
        index,
        field: "price".to_owned(),
        reason: "wrong_type",
        message: message.to_owned(),
        got: "\"x\"".to_owned(),
    };
    Rejection::InvalidEvents(Verdicts { listed: (0..count).map(verdict).collect(), invalid: count, events: count })
}

fn details_of(status: &Status) -> (pb::Status, Problem) {
    let details = pb::Status::decode(status.details()).expect("google.rpc.Status");
    let first = details.details.first().expect("a problem");
    assert_eq!(first.type_url, "type.googleapis.com/frazil.v1.Problem");
    let problem = Problem::decode(first.value.as_slice()).expect("a problem");
    (details, problem)
}

#[test]
fn details_say_what_was_wrong_with_which_event() {
    let status = status(&invalid(2, "expected a number"));
    assert_eq!(status.code(), Code::InvalidArgument);
    let (details, problem) = details_of(&status);
    assert_eq!((details.code, details.message.as_str()), (3, status.message()));
    assert_eq!((problem.r#type.as_str(), problem.status), ("urn:frazil:problem:invalid-events", 400));
    assert_eq!((problem.invalid, problem.errors.len(), problem.errors[1].index), (2, 2, 1));
    let fields = status.get_details_bad_request().expect("as Google has it").field_violations;
    assert_eq!((fields[1].field.as_str(), fields[1].description.as_str()), ("events[1].price", "expected a number"));
    assert!(status.get_details_retry_info().is_none());
}

#[test]
fn waiting_helps_against_overload() {
    let status = status(&Rejection::Overloaded { bound: Bound::Bytes, retry_after: 1 });
    assert_eq!(status.code(), Code::ResourceExhausted);
    let delay = status.get_details_retry_info().expect("RetryInfo").retry_delay;
    assert_eq!(delay, Some(std::time::Duration::from_secs(1)));
    assert_eq!(details_of(&status).1.retry_after_seconds, 1);
}

#[test]
fn details_fit_into_the_metadata_that_clients_take() {
    for rejection in
        [invalid(100, "short"), invalid(100, &"long ".repeat(500)), Rejection::LogUnavailable("é".repeat(100_000))]
    {
        let status = status(&rejection);
        assert!(status.details().len() <= DETAILS_MAX_BYTES, "{}", status.details().len());
        assert!(status.message().len() <= MESSAGE_MAX_BYTES, "{}", status.message());
    }
    let (_, problem) = details_of(&status(&invalid(100, "short")));
    assert_eq!(problem.invalid, 100);
    assert!((10..100).contains(&problem.errors.len()), "{}", problem.errors.len());
}
