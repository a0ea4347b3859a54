//! Whether a place does what Frazil asks of it: a probe is written, read, listed, uploaded in parts and deleted.
//!
//! Owns what a store's refusals mean to whoever set it up. Leaves nothing behind where it may delete.

use std::error::Error;

use bytes::Bytes;
use uuid::Uuid;

use super::location::Location;
use super::object::PART_BYTES;
use super::{ObjectStorage, Result, StorageError, local};

/// What the small probe holds.
const CONTENT: &[u8] = b"frazil doctor storage";

/// What is asked of a place, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    /// A small object is written.
    Write,
    /// It is read, and is what was written.
    Read,
    /// It is found by listing its folder.
    List,
    /// An object above the size of one part goes up in parts.
    Multipart,
    /// What was written is deleted, and gone.
    Delete,
}

/// What is missing, as far as the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeCause {
    /// There is no such bucket.
    Bucket,
    /// The credentials are good, and do not allow this.
    Permission,
    /// The store does not know the credentials, or they are wrong or expired; or there are none.
    Credentials,
    /// The clocks of the two are too far apart for a signature.
    Clock,
    /// The bucket is elsewhere, or the region is wrong.
    Region,
    /// The store's certificate is not trusted.
    Certificate,
    /// Nobody answers, or not as a store does.
    Unreachable,
    /// Something else, which the error says.
    Other,
}

/// A step that failed.
#[derive(Debug)]
pub struct ProbeFailure {
    /// What is missing.
    pub cause: ProbeCause,
    /// The store's own words, on one line: the code and message of its answer, or the error of its client.
    pub message: String,
}

impl ObjectStorage {
    /// Tries out a folder (`s3://bucket/prefix`, `file:///directory`), which need not exist in a bucket. Returns the
    /// steps in order; those that need a step that failed are left out.
    pub async fn probe(&self, folder: &str) -> Vec<(ProbeStep, std::result::Result<(), ProbeFailure>)> {
        let own = format!("{}/.frazil-probe-{}", folder.trim_end_matches('/'), Uuid::new_v4().simple());
        let (small, large) = (format!("{own}/small"), format!("{own}/large"));
        let mut steps = vec![(ProbeStep::Write, self.put(&small, Bytes::from_static(CONTENT)).await)];
        let written = steps[0].1.is_ok();
        if written {
            steps.push((ProbeStep::Read, self.reads(&small).await));
        }
        steps.push((ProbeStep::List, self.lists(&own, written.then_some(&small)).await));
        if written {
            steps.push((ProbeStep::Multipart, self.put_large(&large).await));
            steps.push((ProbeStep::Delete, self.deletes(&own, &[small, large]).await));
        }
        judge(steps)
    }

    async fn reads(&self, small: &str) -> Result<()> {
        match self.get(small).await? {
            read if read == CONTENT => Ok(()),
            _ => Err(odd(small, "what was read is not what was written")),
        }
    }

    async fn lists(&self, folder: &str, expected: Option<&String>) -> Result<()> {
        let found = self.list(folder).await?;
        match expected {
            Some(small) if !found.iter().any(|entry| entry.location == *small) => {
                Err(odd(folder, "an object that was just written is not listed"))
            }
            _ => Ok(()),
        }
    }

    async fn put_large(&self, large: &str) -> Result<()> {
        // One byte more than goes up in one request.
        let bytes = PART_BYTES + 1;
        self.put(large, Bytes::from(vec![b'.'; bytes])).await?;
        match self.size(large).await? {
            size if size == bytes as u64 => Ok(()),
            size => Err(odd(large, format!("{size} bytes are there of {bytes} that were uploaded"))),
        }
    }

    async fn deletes(&self, folder: &str, written: &[String]) -> Result<()> {
        let mut outcome = Ok(());
        for location in written {
            outcome = outcome.and(self.delete(location).await);
        }
        outcome?;
        for location in written {
            if self.exists(location).await? {
                return Err(odd(location, "it was deleted and is still there"));
            }
        }
        match Location::parse(folder)? {
            Location::Local(path) => local::remove_directory(path).await,
            Location::Object(_) => Ok(()),
        }
    }
}

fn odd(location: &str, what: impl Into<Box<dyn Error + Send + Sync>>) -> StorageError {
    StorageError::Refused { location: location.to_owned(), source: what.into() }
}

/// A store that does not let strangers know which buckets exist refuses to write, and yet may say so when it lists.
fn judge(steps: Vec<(ProbeStep, Result<()>)>) -> Vec<(ProbeStep, std::result::Result<(), ProbeFailure>)> {
    let causes = steps.iter().filter_map(|(step, done)| Some(cause(*step, done.as_ref().err()?)));
    let no_bucket = causes.collect::<Vec<_>>().contains(&ProbeCause::Bucket);
    let failure = |step, error: StorageError| {
        let failure = failure(step, &error);
        if no_bucket { ProbeFailure { cause: ProbeCause::Bucket, ..failure } } else { failure }
    };
    steps.into_iter().map(|(step, done)| (step, done.map_err(|error| failure(step, error)))).collect()
}

/// What is missing, by an error of a step.
pub(super) fn failure(step: ProbeStep, error: &StorageError) -> ProbeFailure {
    ProbeFailure { cause: cause(step, error), message: words(error) }
}

/// By the code of the store's answer where it has one (S3 API reference, "Error responses"), else by the kind of error.
fn cause(step: ProbeStep, error: &StorageError) -> ProbeCause {
    let text = error.to_string();
    match element(&text, "Code") {
        Some("NoSuchBucket") => return ProbeCause::Bucket,
        Some("RequestTimeTooSkewed") => return ProbeCause::Clock,
        Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem") => return ProbeCause::Permission,
        Some(
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "InvalidSecurity"
            | "NotSignedUp",
        ) => return ProbeCause::Credentials,
        Some(
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IncorrectEndpoint"
            | "IllegalLocationConstraintException",
        ) => return ProbeCause::Region,
        _ => {}
    }
    match error {
        // Only a bucket can be missing where nothing is read.
        StorageError::NotFound { .. } if matches!(step, ProbeStep::Write | ProbeStep::List) => ProbeCause::Bucket,
        StorageError::PermissionDenied { .. } => ProbeCause::Permission,
        StorageError::Unavailable { .. } if text.contains("certificate") => ProbeCause::Certificate,
        // Without keys the client asks the services of clouds that hand some out.
        StorageError::Unavailable { .. } if text.contains("/latest/") || text.contains("redential") => {
            ProbeCause::Credentials
        }
        StorageError::Unavailable { .. } => ProbeCause::Unreachable,
        StorageError::NotFound { .. }
        | StorageError::AlreadyExists { .. }
        | StorageError::Refused { .. }
        | StorageError::InvalidLocation { .. }
        | StorageError::Configuration { .. } => ProbeCause::Other,
    }
}

fn words(error: &StorageError) -> String {
    let text = error.to_string();
    match (element(&text, "Code"), element(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The text of the first element of this name; S3 gives its errors none with attributes.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable(text: &str) -> StorageError {
        StorageError::Unavailable { location: "s3://b/k".to_owned(), source: text.into() }
    }

    fn denied(text: &str) -> StorageError {
        StorageError::PermissionDenied { location: "s3://b/k".to_owned(), source: text.into() }
    }

    #[tokio::test]
    async fn a_good_place_passes_every_step_and_is_left_as_it_was() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let storage = ObjectStorage::default();
        for folder in [format!("file://{}", directory.path().display()), "memory://bucket/prefix/".to_owned()] {
            let steps = storage.probe(&folder).await;
            let names: Vec<ProbeStep> = steps.iter().map(|(step, _)| *step).collect();
            use ProbeStep::{Delete, List, Multipart, Read, Write};
            assert_eq!(names, [Write, Read, List, Multipart, Delete], "{folder}");
            assert!(steps.iter().all(|(_, done)| done.is_ok()), "{folder}: {steps:?}");
            assert_eq!(storage.list(&folder).await.expect("listed"), []);
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
    }

    #[tokio::test]
    async fn what_needs_a_failed_step_is_left_out() {
        let directory = tempfile::NamedTempFile::new().expect("a temporary file");
        let steps = ObjectStorage::default().probe(&format!("file://{}", directory.path().display())).await;
        let names: Vec<ProbeStep> = steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(names, [ProbeStep::Write, ProbeStep::List], "{steps:?}");
        assert!(steps[0].1.is_err());
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        for (code, expected) in [
            ("NoSuchBucket", ProbeCause::Bucket),
            ("AccessDenied", ProbeCause::Permission),
            ("InvalidAccessKeyId", ProbeCause::Credentials),
            ("SignatureDoesNotMatch", ProbeCause::Credentials),
            ("RequestTimeTooSkewed", ProbeCause::Clock),
            ("AuthorizationHeaderMalformed", ProbeCause::Region),
        ] {
            let body = format!("403 Forbidden: <?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            assert_eq!(cause(ProbeStep::Write, &denied(&body)), expected, "{code}");
            assert_eq!(cause(ProbeStep::List, &unavailable(&body)), expected, "{code}");
        }
    }

    #[test]
    fn a_bucket_that_one_step_misses_is_why_the_others_fail() {
        let body = |code: &str| denied(&format!("403: <Error>\n<Code>{code}</Code><Message>No.</Message></Error>"));
        let steps = vec![(ProbeStep::Write, Err(body("AccessDenied"))), (ProbeStep::List, Err(body("NoSuchBucket")))];
        let failures: Vec<ProbeFailure> = judge(steps).into_iter().filter_map(|(_, done)| done.err()).collect();
        assert!(failures.iter().all(|failure| failure.cause == ProbeCause::Bucket), "{failures:?}");
        assert_eq!(failures[0].message, "AccessDenied: No.");
        assert_eq!(
            words(&unavailable("refused\n  by nobody")),
            "storage is unavailable at s3://b/k: refused by nobody"
        );
    }

    #[test]
    fn without_a_code_the_kind_of_error_decides() {
        let missing = || StorageError::NotFound { location: "s3://b/k".to_owned() };
        assert_eq!(cause(ProbeStep::Write, &missing()), ProbeCause::Bucket);
        assert_eq!(cause(ProbeStep::Read, &missing()), ProbeCause::Other);
        assert_eq!(cause(ProbeStep::Delete, &denied("403")), ProbeCause::Permission);
        assert_eq!(cause(ProbeStep::Write, &unavailable("invalid peer certificate")), ProbeCause::Certificate);
        assert_eq!(cause(ProbeStep::Write, &unavailable("connection refused")), ProbeCause::Unreachable);
        let metadata = unavailable("PUT http://169.254.169.254/latest/api/token");
        assert_eq!(cause(ProbeStep::Write, &metadata), ProbeCause::Credentials);
    }
}
