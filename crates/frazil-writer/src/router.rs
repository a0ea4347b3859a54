//! Finds the task of a table, and asks for one where there is none.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frazil_core::TableName;
use tokio::sync::mpsc;

use crate::rows::Delivery;

/// Deliveries that may wait in front of a table. A full inbox stops the shard reader.
const INBOX: usize = 256;

/// Where a table's deliveries go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The task's inbox.
    pub(crate) inbox: mpsc::Sender<Delivery>,
    /// Bytes of a row's fixed part; 0 until the table is loaded.
    pub(crate) row_width: Arc<AtomicUsize>,
}

/// A table task to be started.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) table: TableName,
    pub(crate) inbox: mpsc::Receiver<Delivery>,
    pub(crate) row_width: Arc<AtomicUsize>,
}

/// The tables of one stream that have a task.
#[derive(Debug)]
pub(crate) struct Router {
    /// In order, so that they are closed in the same order in every run of a simulation.
    routes: Mutex<BTreeMap<TableName, Route>>,
    births: mpsc::Sender<Birth>,
}

impl Router {
    /// Tasks to start come out of the receiver.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Birth>) {
        let (births, receiver) = mpsc::channel(16);
        (Self { routes: Mutex::default(), births }, receiver)
    }

    /// The way to a table's task; `None` if the pipeline has ended.
    pub(crate) async fn route(&self, table: &TableName) -> Option<Route> {
        let (route, birth) = {
            let mut routes = self.routes();
            if let Some(route) = routes.get(table) {
                return Some(route.clone());
            }
            let (sender, inbox) = mpsc::channel(INBOX);
            let row_width = Arc::new(AtomicUsize::new(0));
            let route = Route { inbox: sender, row_width: Arc::clone(&row_width) };
            routes.insert(table.clone(), route.clone());
            (route, Birth { table: table.clone(), inbox, row_width })
        };
        self.births.send(birth).await.ok().map(|()| route)
    }

    /// Whether the table's task may end: nothing waits for it, and nobody is about to send. It then has no route.
    pub(crate) fn retire(&self, table: &TableName, inbox: &mpsc::Receiver<Delivery>) -> bool {
        let mut routes = self.routes();
        // Senders are cloned under the lock, so the map's own being the only one is final.
        let alone = routes.get(table).is_none_or(|route| route.inbox.strong_count() == 1) && inbox.is_empty();
        if alone {
            routes.remove(table);
        }
        alone
    }

    /// Closes every inbox: the tasks commit what they have and end.
    pub(crate) fn close(&self) {
        self.routes().clear();
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<TableName, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
