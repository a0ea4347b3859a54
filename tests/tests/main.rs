//! End to end: the real binary, real servers, and query engines that know nothing of Frazil.

mod e2e {
    mod catalog;
    mod datasets;
    mod dead_letters;
    mod dev;
    mod faults;
    mod s3;
    mod statuses;
}
