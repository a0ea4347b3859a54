//! From a delivery to the open batch: what the table contains is skipped; the rest is decoded, with the table altered
//! for it where the policy says so.

use std::sync::Arc;
use std::time::Duration;

use frazil_core::checkpoint::Checkpoint;
use tokio::time::Instant;

use super::evolve::Altered;
use super::{Abandon, TableTask, load};
use crate::rows::{Delivery, decode, probe, recover};
use crate::sink::TableSink;
use crate::source::Source;

/// A dead letter is believed only if the table's schema was looked at this recently.
const LETTER_REFRESH: Duration = Duration::from_secs(1);

/// A delivery on its way into a batch.
pub(super) struct Next {
    pub(super) delivery: Delivery,
    /// How often the table was altered for its sake.
    pub(super) alterations: u32,
    /// Whether it waits until nothing is open or being committed, because it may take long.
    pub(super) alone: bool,
}

impl Next {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery, alterations: 0, alone: false }
    }
}

impl<So: Source, Si: TableSink> TableTask<So, Si> {
    /// The held delivery, if it waits no longer.
    pub(super) fn ready(&mut self) -> Option<Next> {
        let busy = self.busy();
        if self.newer.is_some() { None } else { self.held.take_if(|held| !held.alone || !busy) }
    }

    /// Whether something is open or being committed.
    pub(super) fn busy(&self) -> bool {
        !(self.open.is_empty() && self.flight.is_empty())
    }

    pub(super) async fn take(&mut self, next: Next) -> Result<(), Abandon> {
        self.idle_since = Instant::now();
        if self.open.is_empty() && self.shape.age() > self.context.config.table_refresh {
            self.look_again().await?;
            if let Some(newer) = self.newer.take() {
                self.install(newer);
            }
        }
        let delivery = &next.delivery;
        let index = delivery.origin.shard.index;
        if !self.fences.contains_key(&index) {
            // Once a shard: its size must not be that of every idle table's task.
            let fence = load::fence(&self.context, &self.birth.table, &self.shape, &delivery.origin);
            let fence = Box::pin(fence).await?;
            self.fences.insert(index, fence);
        }
        let fence = &self.fences[&index];
        if delivery.sequence > fence.at {
            return self.decode(next).await;
        }
        if fence.letters.is_empty() {
            delivery.origin.progress().contained(&self.birth.table, fence.checkpoint());
        } else {
            // A letter that is not written yet, or a message behind one: it counts only when the letters do.
            recover(delivery, self.shape.plan.as_deref(), &fence.letters, &mut self.open);
            self.admit(next.delivery);
        }
        Ok(())
    }

    /// Decodes a delivery whole: its sequence becomes part of a checkpoint, so a batch never ends inside of one.
    async fn decode(&mut self, mut next: Next) -> Result<(), Abandon> {
        let before = self.open.mark();
        // Whether the table stays as it is, for this delivery.
        let mut settled = false;
        loop {
            let probing = if settled { None } else { self.probing() };
            let fits = match &probing {
                Some(plan) => probe(&next.delivery, plan, &mut self.open),
                None => decode(&next.delivery, self.shape.plan.as_deref(), &mut self.open) == 0,
            };
            if settled || (fits && !self.lacks_columns()) {
                break;
            }
            if !fits && self.shape.age() > LETTER_REFRESH {
                // The proxy accepted it: perhaps by a newer schema than the one known here.
                self.look_again().await?;
            }
            let altered = match &self.newer {
                Some(_) => Altered::Yes,
                None => self.alter(&mut next).await?,
            };
            if altered == Altered::No && probing.is_none() && self.newer.is_none() {
                break;
            }
            settled = altered == Altered::No;
            self.open.rewind(before);
            if altered == Altered::Later || (self.newer.is_some() && !self.open.is_empty()) {
                self.held = Some(next);
                return Ok(());
            }
            self.newer.take().into_iter().for_each(|newer| self.install(newer));
        }
        self.admit(next.delivery);
        Ok(())
    }

    /// All of the delivery is in the open batch.
    fn admit(&mut self, delivery: Delivery) {
        let Delivery { origin, sequence, at, permit, .. } = delivery;
        let end = Checkpoint { incarnation: origin.incarnation, sequence, at: Some(at) };
        self.open.extend_to(&origin.shard, end, permit, Instant::now());
        self.account.set_open_bytes(self.open.held_bytes());
    }

    /// The plan to try first: it refuses what the table might be altered for.
    fn probing(&self) -> Option<Arc<frazil_core::mapping::Plan>> {
        self.shape.probe.clone().filter(|_| self.pausing().is_none())
    }
}
