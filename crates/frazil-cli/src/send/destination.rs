//! Which proxy the events go to and with which token. A token is never sent to a proxy it was not given for.

use std::path::Path;

use anyhow::anyhow;

use super::SendArgs;
use crate::dev::{self, DevState};
use crate::exit::Failure;
use crate::reach::DEFAULT_DATA_DIR;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Address and token.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) url: url::Url,
    pub(super) token: Option<String>,
}

impl Destination {
    /// What the arguments say; what they leave open is taken from a running `frazil dev`.
    pub(super) fn find(args: &SendArgs) -> Result<Self, Failure> {
        let dir = args.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR));
        let state = DevState::read(dir)?;
        if args.data_dir.is_some() && state.is_none() && args.url.is_none() {
            return Err(Failure::usage(anyhow!("no `frazil dev` is running on {}", dir.display())));
        }
        let own = state.as_ref().map(|state| state.proxy.clone());
        let text = args.url.clone().or_else(|| own.clone()).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let url = parse(&text)?;
        let same = own.as_deref().and_then(|own| parse(own).ok()).is_some_and(|own| own == url);
        let dev_token = if same { dev::read_token(dir)? } else { None };
        Ok(Self { url, token: args.token.clone().or(dev_token) })
    }
}

fn parse(text: &str) -> Result<url::Url, Failure> {
    let url = url::Url::parse(text).map_err(|error| Failure::usage(anyhow!("--url {text:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Failure::usage(anyhow!("--url {text:?} must be an http:// or https:// URL")));
    }
    Ok(url)
}
