//! End-to-end tests against real servers and independent query engines.
