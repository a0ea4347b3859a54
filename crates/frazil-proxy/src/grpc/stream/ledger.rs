//! The numbers of a stream: which were read, which are answered, up to where the client was told. Pure.

use std::collections::BTreeMap;

use frazil_core::receipt::Receipt;
use frazil_proto::v1::{IngestResponse, IngestStreamResponse, NumberedResponse, Problem, Refusal};
use prost::Message;

/// Answers in one message, in bytes; the rest follows in the next. Clients take 4 MiB by default.
const REPORT_TARGET_BYTES: usize = 512 * 1024;

/// How one request ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Durable, and where.
    Accepted(IngestResponse, Vec<Receipt>),
    /// Not accepted.
    Refused(Problem),
}

/// The numbers. Answers come in any order and are told in the order of the requests.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    read: u64,
    told: u64,
    waiting: BTreeMap<u64, Answer>,
}

impl Ledger {
    /// Takes in the number of the next request.
    ///
    /// # Errors
    /// The number that it should have.
    pub(super) fn read(&mut self, number: u64) -> Result<(), u64> {
        let expected = self.read + 1;
        if number != expected {
            return Err(expected);
        }
        self.read = number;
        Ok(())
    }

    pub(super) fn answered(&mut self, number: u64, answer: Answer) {
        self.waiting.insert(number, answer);
    }

    /// Requests read that the client has no answer to.
    pub(super) fn open(&self) -> u64 {
        self.read - self.told
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        self.waiting.contains_key(&(self.told + 1))
    }

    /// What to tell now, as far as one message has room; and where the events told of are, by number.
    pub(super) fn tell(&mut self) -> (IngestStreamResponse, Vec<(u64, Vec<Receipt>)>) {
        let (mut message, mut stored, mut bytes) = (IngestStreamResponse::default(), Vec::new(), 0);
        while bytes < REPORT_TARGET_BYTES
            && let Some(answer) = self.waiting.remove(&(self.told + 1))
        {
            self.told += 1;
            let number = self.told;
            match answer {
                Answer::Accepted(response, receipts) => {
                    stored.push((number, receipts));
                    if response.accepted > 0 {
                        bytes += response.encoded_len();
                        message.results.push(NumberedResponse { number, response: Some(response) });
                    }
                }
                Answer::Refused(problem) => {
                    stored.push((number, Vec::new()));
                    bytes += problem.encoded_len();
                    message.refused.push(Refusal { number, problem: Some(problem) });
                }
            }
        }
        message.acknowledged = self.told;
        (message, stored)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(number: u64) -> Answer {
        match number % 3 {
            0 => Answer::Refused(Problem { status: 400, detail: "x".repeat(200_000), ..Problem::default() }),
            1 => Answer::Accepted(IngestResponse { accepted: number, ..IngestResponse::default() }, Vec::new()),
            _ => Answer::Accepted(IngestResponse::default(), Vec::new()),
        }
    }

    #[test]
    fn numbers_count_from_one() {
        let mut ledger = Ledger::default();
        assert_eq!([ledger.read(0), ledger.read(2), ledger.read(1)], [Err(1), Err(1), Ok(())]);
        assert_eq!([ledger.read(1), ledger.read(3), ledger.read(2)], [Err(2), Err(2), Ok(())]);
        assert_eq!(ledger.open(), 2);
    }

    proptest! {
        /// 1. In whatever order requests are answered and whenever is told: every number is told once, in order, with
        ///    its own answer, and the cumulative number never passes one that has none.
        #[test]
        fn told_once_and_in_order(
            order in Just((1..=30_u64).collect::<Vec<_>>()).prop_shuffle(),
            tell_after in prop::collection::vec(any::<bool>(), 30),
        ) {
            let mut ledger = Ledger::default();
            for number in 1..=30 {
                prop_assert_eq!(ledger.read(number), Ok(()));
            }
            let (mut told, mut seen, mut done) = (0, Vec::new(), Vec::new());
            for (number, tell) in order.into_iter().zip(tell_after.into_iter().chain([true])) {
                ledger.answered(number, answer(number));
                done.push(number);
                let mut rounds = if tell || done.len() == 30 { 30 } else { 0 };
                while rounds > 0 && ledger.has_news() {
                    rounds -= 1;
                    let (message, stored) = ledger.tell();
                    prop_assert!(message.acknowledged > told);
                    prop_assert!((told + 1..=message.acknowledged).all(|number| done.contains(&number)));
                    prop_assert!(stored.iter().map(|(number, _)| *number).eq(told + 1..=message.acknowledged));
                    prop_assert!(message.encoded_len() < REPORT_TARGET_BYTES + 210_000);
                    let refused = message.refused.iter().map(|refusal| refusal.number);
                    seen.extend(refused.chain(message.results.iter().map(|result| result.number)));
                    told = message.acknowledged;
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(told, 30);
            prop_assert_eq!(ledger.open(), 0);
            prop_assert_eq!(seen, (1..=30).filter(|number| number % 3 != 2).collect::<Vec<_>>());
        }
    }
}
