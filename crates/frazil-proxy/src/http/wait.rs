//! `?wait=committed&timeout=30s`: how long a request is willing to wait.

use std::time::Duration;

use crate::config::ProxyConfig;
use crate::error::Rejection;

/// How long to wait, `None` for not at all. Longer than the configured maximum is cut to it.
pub(super) fn parse(
    wait: Option<&str>,
    timeout: Option<&str>,
    config: &ProxyConfig,
) -> Result<Option<Duration>, Rejection> {
    let malformed = |name, message: &str| Err(Rejection::Malformed { name, message: message.to_owned() });
    let timeout = match timeout.map(duration) {
        None => config.wait_default,
        Some(Some(timeout)) => timeout,
        Some(None) => return malformed("timeout", "write it as 30s, 500ms or 2m"),
    };
    match wait {
        None | Some("stored") => Ok(None),
        Some("committed") => Ok(Some(timeout.min(config.wait_max))),
        Some(_) => malformed("wait", "the only states to wait for are `stored` and `committed`"),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "" | "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let config = ProxyConfig::default();
        let parsed = |wait: Option<&str>, timeout: Option<&str>| parse(wait, timeout, &config).ok();
        assert_eq!(parsed(None, None), Some(None));
        assert_eq!(parsed(Some("stored"), None), Some(None));
        assert_eq!(parsed(Some("committed"), None), Some(Some(config.wait_default)));
        for (text, millis) in [("500ms", 500), ("7", 7000), ("7s", 7000), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(parsed(Some("committed"), Some(text)), Some(Some(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(parsed(Some("committed"), Some("9999999s")), Some(Some(config.wait_max)));
        for bad in ["", "s", "-1s", "1h", "1.5s", "99999999999"] {
            assert_eq!(parsed(Some("committed"), Some(bad)), None, "{bad}");
        }
        assert_eq!(parsed(Some("visible"), None), None);
    }
}
