//! `frazil doctor storage`: a probe is written, read, listed, uploaded in parts and deleted where tables are kept.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use frazil_iceberg::ObjectStorage;
use frazil_iceberg::storage::{BucketOutcome, ProbeCause, ProbeFailure, ProbeStep};

use super::{Level, Report};
use crate::config::{CatalogSection, Config};
use crate::exit::{self, Failure};
use crate::reach::{self, ReachArgs};

/// Arguments of `frazil doctor storage`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  frazil doctor storage --config frazil.toml
  frazil doctor storage --config frazil.toml s3://lake/warehouse file:///var/lib/lake
  frazil doctor storage --config frazil.toml --create-buckets

Writes two objects (one byte above 8 MiB together with a small one) below FOLDER/.frazil-probe-…, and deletes them.
Buckets are created with --create-buckets only; one that exists is left as it is. Exit codes: 0 nothing to act on, 1 something to act on.")]
pub(crate) struct StorageArgs {
    /// Folders to try out [default: object_storage.default_buckets, and the warehouses that are locations]
    #[arg(value_name = "FOLDER")]
    folders: Vec<String>,
    /// Whose storage properties FOLDER is reached with [default: the default catalog]
    #[arg(long, value_name = "NAME", requires = "folders")]
    catalog: Option<String>,
    /// First create the buckets that do not exist, in the region of the configuration
    #[arg(long)]
    create_buckets: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// A folder and how it is reached.
struct Place {
    folder: String,
    /// Of whom: `catalog lake`, `embedded catalog`.
    owner: String,
    /// Whether its owner lists and deletes there, which only the embedded catalog does.
    all_steps: bool,
    storage: ObjectStorage,
}

impl Place {
    /// What a finding is about.
    fn about(&self) -> String {
        format!("{} ({})", self.folder, self.owner)
    }
}

/// Tries out every place.
pub(super) async fn run(args: StorageArgs) -> Result<ExitCode, Failure> {
    let config = args.reach.resolve()?;
    let places = if args.folders.is_empty() { configured(&config)? } else { given(&config, &args)? };
    if places.is_empty() {
        return Err(Failure::usage(anyhow!(
            "the configuration names no place: say one (s3://bucket/prefix, file:///directory), or set \
             object_storage.default_buckets"
        )));
    }
    let mut report = Report::default();
    for place in places {
        if args.create_buckets {
            tell_bucket(&place, place.storage.create_bucket(&place.folder).await, &mut report);
        }
        let steps = place.storage.probe(&place.folder).await;
        judge(&place, steps, &mut report);
    }
    report.print(args.json);
    Ok(if report.sound() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn given(config: &Config, args: &StorageArgs) -> Result<Vec<Place>, Failure> {
    let name = args.catalog.as_deref().or_else(|| config.default_catalog());
    let name = name.ok_or_else(|| Failure::usage(anyhow!("say by --catalog whose storage properties to use")))?;
    let section = config.catalogs.get(name).ok_or_else(|| Failure::usage(anyhow!("there is no catalog {name}")))?;
    args.folders.iter().map(|folder| of_catalog(name, section, folder.clone())).collect()
}

fn configured(config: &Config) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    for (name, section) in &config.catalogs {
        let buckets = config.object_storage.default_buckets.iter().map(|bucket| format!("s3://{bucket}"));
        let warehouse = section.warehouse.iter().filter(|warehouse| warehouse.contains("://")).cloned();
        for folder in buckets.chain(warehouse) {
            places.push(of_catalog(name, section, folder)?);
        }
    }
    if let Some(embedded) = &config.catalog {
        let roots = reach::roots(embedded.tls_ca.as_deref()).map_err(Failure::config)?;
        places.push(Place {
            folder: embedded.warehouse.clone(),
            owner: "embedded catalog".to_owned(),
            all_steps: true,
            storage: ObjectStorage::trusting(roots, embedded.properties.0.clone()),
        });
    }
    Ok(places)
}

fn of_catalog(name: &str, section: &CatalogSection, folder: String) -> Result<Place, Failure> {
    let roots = reach::roots(section.tls_ca.as_deref()).map_err(Failure::config)?;
    let storage = ObjectStorage::trusting(roots, section.properties.0.clone());
    Ok(Place { folder, owner: format!("catalog {name}"), all_steps: false, storage })
}

/// What became of a bucket that was to be created.
fn tell_bucket(place: &Place, outcome: Result<BucketOutcome, ProbeFailure>, report: &mut Report) {
    let about = place.about();
    match outcome {
        Ok(BucketOutcome::Created { bucket, region }) => {
            report.add(Level::Ok, about, format!("created the bucket {bucket} (region {region})"));
        }
        Ok(BucketOutcome::Existed { bucket }) => {
            report.add(Level::Ok, about, format!("the bucket {bucket} exists: left as it is"));
        }
        Ok(BucketOutcome::NotABucket) => {}
        Err(ProbeFailure { cause: ProbeCause::Permission, message }) => {
            let needed = "the credentials do not allow it (on S3: s3:ListBucket and s3:CreateBucket)";
            report.add(Level::Error, about, format!("cannot create the bucket: {needed}; {message}"));
        }
        Err(ProbeFailure { cause, message }) => {
            let advice = advice(cause, ProbeStep::Write);
            report.add(Level::Error, about, format!("cannot create the bucket: {advice}; {message}"));
        }
    }
}

fn judge(place: &Place, steps: Vec<(ProbeStep, Result<(), ProbeFailure>)>, report: &mut Report) {
    let about = place.about();
    let done: Vec<&str> = steps.iter().filter(|(_, done)| done.is_ok()).map(|(step, _)| name(*step)).collect();
    if !done.is_empty() {
        report.add(Level::Ok, &about, format!("can {}", done.join(", ")));
    }
    for (step, outcome) in steps {
        let Err(ProbeFailure { cause, message }) = outcome else { continue };
        let needed = place.all_steps || !matches!(step, ProbeStep::List | ProbeStep::Delete);
        let level = if needed { Level::Error } else { Level::Warning };
        report.add(level, &about, format!("cannot {}: {}; {message}", name(step), advice(cause, step)));
    }
}

fn name(step: ProbeStep) -> &'static str {
    match step {
        ProbeStep::Write => "write",
        ProbeStep::Read => "read",
        ProbeStep::List => "list",
        ProbeStep::Multipart => "upload in parts",
        ProbeStep::Delete => "delete",
    }
}

/// What to do about it.
fn advice(cause: ProbeCause, step: ProbeStep) -> String {
    let text = match cause {
        ProbeCause::Bucket => "there is no such bucket (create it, here by --create-buckets)",
        ProbeCause::Permission => return format!("the credentials do not allow it (on S3: {})", permission(step)),
        ProbeCause::Credentials => "the store does not accept the credentials, or there are none",
        ProbeCause::Clock => "this machine's clock and the store's are too far apart",
        ProbeCause::Region => "the bucket is in another region, or the region is wrong",
        ProbeCause::Certificate => "the store's certificate is not trusted (name its CA by tls_ca)",
        ProbeCause::Unreachable => "no answer (are the endpoint and path-style access right?)",
        ProbeCause::Other => "not as it should be",
    };
    text.to_owned()
}

fn permission(step: ProbeStep) -> &'static str {
    match step {
        ProbeStep::Write => "s3:PutObject",
        ProbeStep::Read => "s3:GetObject",
        ProbeStep::List => "s3:ListBucket",
        ProbeStep::Multipart => "s3:PutObject and s3:AbortMultipartUpload",
        ProbeStep::Delete => "s3:DeleteObject",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(all_steps: bool) -> Place {
        let (folder, owner) = ("s3://lake".to_owned(), "catalog lake".to_owned());
        Place { folder, owner, all_steps, storage: ObjectStorage::default() }
    }

    #[test]
    fn what_became_of_a_bucket_is_told() {
        let failed = |cause| Err(ProbeFailure { cause, message: "as told".to_owned() });
        let bucket = || "lake".to_owned();
        for (outcome, level, words) in [
            (
                Ok(BucketOutcome::Created { bucket: bucket(), region: "r".to_owned() }),
                Level::Ok,
                "created the bucket lake",
            ),
            (Ok(BucketOutcome::Existed { bucket: bucket() }), Level::Ok, "left as it is"),
            (failed(ProbeCause::Permission), Level::Error, "s3:CreateBucket"),
            (failed(ProbeCause::Clock), Level::Error, "clock"),
        ] {
            let mut report = Report::default();
            tell_bucket(&place(false), outcome, &mut report);
            assert_eq!(report.findings[0].level, level);
            assert!(report.findings[0].message.contains(words), "{:?}", report.findings);
        }
        let mut report = Report::default();
        tell_bucket(&place(false), Ok(BucketOutcome::NotABucket), &mut report);
        assert_eq!(report.findings, []);
    }

    #[test]
    fn only_the_embedded_catalog_has_to_list_and_delete() {
        for (all_steps, sound) in [(false, true), (true, false)] {
            let failure = ProbeFailure { cause: ProbeCause::Permission, message: "AccessDenied".to_owned() };
            let mut report = Report::default();
            judge(&place(all_steps), vec![(ProbeStep::Write, Ok(())), (ProbeStep::Delete, Err(failure))], &mut report);
            assert_eq!(report.sound(), sound);
            assert_eq!(report.findings[0].message, "can write");
            assert!(report.findings[1].message.contains("s3:DeleteObject"), "{:?}", report.findings);
        }
    }
}
