//! End to end: the real binary, real servers, and query engines that know nothing of Frazil.

mod e2e {
    mod audit;
    mod catalog;
    mod catalogs;
    mod cloud_events;
    mod datasets;
    mod dead_letters;
    mod dev;
    mod evolution;
    mod faults;
    mod fronts;
    mod hostile;
    mod iceberg_metrics;
    mod messy;
    mod overload;
    mod partition;
    mod power_loss;
    mod recovery;
    mod rewind;
    mod round_trip;
    mod s3;
    mod security;
    mod statuses;
    mod storage;
    mod table_life;
    mod tables;
    mod tls;
}
