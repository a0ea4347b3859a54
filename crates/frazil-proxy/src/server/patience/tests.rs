//! Patience in paused time, without a connection: bodies are asked as HTTP/2 asks them.

use std::future::poll_fn;

use http_body_util::BodyExt;

use super::*;

const WRITE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(600);

fn answer(patience: &Patience, body: impl Into<Body>) -> Answer {
    Answer { body: body.into(), rest: Bytes::new(), watched: patience.begin() }
}

async fn lost(patience: &Patience) -> (Lost, Duration) {
    let begun = Instant::now();
    (patience.lost(WRITE, IDLE).await, begun.elapsed())
}

async fn piece(answer: &mut Answer) -> usize {
    let frame = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).await.expect("more").expect("no error");
    frame.into_data().expect("data").len()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_idle() {
    let patience = Patience::new();
    assert_eq!(lost(&patience).await, (Lost::Idle, IDLE));
    let answer = answer(&patience, "x");
    tokio::time::sleep(IDLE * 3).await;
    drop(answer);
    assert_eq!(lost(&patience).await, (Lost::Idle, IDLE), "from the end of the last one");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_being_made_is_waited_for() {
    let patience = Patience::new();
    let (_send, never) = tokio::sync::oneshot::channel::<()>();
    let body = Body::from_stream(futures::stream::once(async move {
        let _ = never.await;
        Ok::<_, axum::Error>(Bytes::new())
    }));
    let mut answer = answer(&patience, body);
    assert!(futures::poll!(poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx))).is_pending());
    let waited = tokio::time::timeout(IDLE * 10, patience.lost(WRITE, IDLE)).await;
    assert!(waited.is_err(), "the client is not to blame");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_is_not_waited_for() {
    let patience = Patience::new();
    let mut slow = answer(&patience, vec![7; PIECE_MAX_BYTES * 3]);
    for _ in 0..2 {
        assert_eq!(piece(&mut slow).await, PIECE_MAX_BYTES);
        let early = tokio::time::timeout(WRITE - Duration::from_secs(1), patience.lost(WRITE, IDLE)).await;
        assert!(early.is_err(), "it takes a piece now and then");
    }
    piece(&mut slow).await;
    let other = answer(&patience, "another request does not change it");
    assert_eq!(lost(&patience).await, (Lost::Untaken, WRITE));
    drop((slow, other));
    assert_eq!(lost(&patience).await.0, Lost::Idle);
}

#[tokio::test]
async fn pieces_make_up_the_answer() {
    let patience = Patience::new();
    let text: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    for length in [0, 1, PIECE_MAX_BYTES, PIECE_MAX_BYTES + 1, 10_000] {
        let mut answer = answer(&patience, text[..length].to_vec());
        assert_eq!(answer.size_hint().exact(), Some(length as u64));
        let mut whole = Vec::new();
        while !answer.is_end_stream() {
            let frame = answer.frame().await.expect("not the end").expect("no error");
            whole.extend_from_slice(&frame.into_data().expect("data"));
            assert_eq!(answer.size_hint().exact(), Some((length - whole.len()) as u64));
        }
        assert_eq!(whole, text[..length]);
    }
    assert_eq!(patience.state().open, 0);
}
