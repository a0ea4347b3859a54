//! Who asks: a token that is fixed, or fetched by OAuth2 client credentials and renewed in time; or a signature.
//!
//! Owns the token; must not know what the requests are for.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::CatalogError;
use super::config::{Auth, RestCatalogConfig, RetryPolicy, Secret};
use super::wire::{TokenError, TokenResponse};
use crate::sigv4::{SignError, Signer};

/// Renew this long before the token expires, or after nine tenths of its life if it is short-lived.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Authenticator {
    None,
    Bearer(Secret),
    OAuth2(OAuth2),
    SigV4(Signer),
}

#[derive(Debug)]
pub(super) struct OAuth2 {
    client: reqwest::Client,
    endpoint: String,
    id: Option<String>,
    secret: Secret,
    scope: String,
    retry: RetryPolicy,
    /// Held while a token is fetched, so that many requests wait for one fetch.
    token: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    renew_at: Option<Instant>,
}

impl Authenticator {
    pub(super) fn new(config: &RestCatalogConfig, client: reqwest::Client) -> Result<Self, CatalogError> {
        Ok(match &config.auth {
            Auth::None => Self::None,
            Auth::Bearer(token) => Self::Bearer(token.clone()),
            Auth::SigV4(sigv4) => Self::SigV4(sigv4.signer()?),
            Auth::OAuth2ClientCredentials { credential, oauth2_server_uri, scope } => {
                let (id, secret) = match credential.expose().split_once(':') {
                    Some((id, secret)) => (Some(id.to_owned()), secret),
                    None => (None, credential.expose()),
                };
                let endpoint =
                    oauth2_server_uri.clone().unwrap_or_else(|| format!("{}/v1/oauth/tokens", config.root()));
                Self::OAuth2(OAuth2 {
                    client,
                    endpoint,
                    id,
                    secret: Secret::new(secret),
                    scope: scope.clone().unwrap_or_else(|| "catalog".to_owned()),
                    retry: config.retry,
                    token: Mutex::new(None),
                })
            }
        })
    }

    /// The token to send, fetched if there is none or it expires soon.
    pub(super) async fn token(&self) -> Result<Option<Secret>, CatalogError> {
        match self {
            Self::None | Self::SigV4(_) => Ok(None),
            Self::Bearer(token) => Ok(Some(token.clone())),
            Self::OAuth2(oauth2) => oauth2.token(None).await.map(Some),
        }
    }

    /// Another token than the one that was refused, or `None` if there is no way to get one.
    pub(super) async fn renewed(&self, refused: Option<&Secret>) -> Result<Option<Secret>, CatalogError> {
        match self {
            Self::None | Self::Bearer(_) | Self::SigV4(_) => Ok(None),
            Self::OAuth2(oauth2) => oauth2.token(refused).await.map(Some),
        }
    }

    /// Signs what is about to be sent, if requests are signed. Each try anew: a signature is good for minutes.
    pub(super) async fn sign(&self, request: &mut reqwest::Request, body: Option<&Bytes>) -> Result<(), CatalogError> {
        match self {
            Self::SigV4(signer) => Ok(signer.sign(request, body).await?),
            Self::None | Self::Bearer(_) | Self::OAuth2(_) => Ok(()),
        }
    }
}

impl From<SignError> for CatalogError {
    fn from(error: SignError) -> Self {
        let message = error.to_string();
        match error {
            SignError::Settings(_) => Self::Configuration { message },
            SignError::Credentials(_) => Self::Unavailable { message, retry_after: None },
        }
    }
}

impl OAuth2 {
    async fn token(&self, refused: Option<&Secret>) -> Result<Secret, CatalogError> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref()
            && refused != Some(&token.secret)
            && token.renew_at.is_none_or(|at| Instant::now() < at)
        {
            return Ok(token.secret.clone());
        }
        let token = self.fetch().await?;
        let secret = token.secret.clone();
        *held = Some(token);
        Ok(secret)
    }

    async fn fetch(&self) -> Result<Token, CatalogError> {
        let mut attempt = 0;
        loop {
            let error = match self.fetch_once().await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            attempt += 1;
            match &error {
                CatalogError::Unavailable { retry_after, .. } if attempt < self.retry.attempts => {
                    tokio::time::sleep(self.retry.wait(attempt - 1, *retry_after)).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn fetch_once(&self) -> Result<Token, CatalogError> {
        let unavailable = |error: reqwest::Error| CatalogError::Unavailable {
            message: format!("token endpoint: {}", super::transport::describe(&error)),
            retry_after: None,
        };
        let mut form = vec![("grant_type", "client_credentials"), ("client_secret", self.secret.expose())];
        form.extend(self.id.as_deref().map(|id| ("client_id", id)));
        form.push(("scope", &self.scope));
        let asked = Instant::now();
        let response = self.client.post(&self.endpoint).form(&form).send().await.map_err(unavailable)?;
        let status = response.status();
        let retry_after = super::transport::retry_after(response.headers());
        let body = response.bytes().await.map_err(unavailable)?;
        if !status.is_success() {
            return Err(token_error(status.as_u16(), retry_after, &body));
        }
        let answer: TokenResponse = serde_json::from_slice(&body).map_err(|error| CatalogError::malformed(&error))?;
        let renew_at = answer.expires_in.map(|seconds| {
            let life = Duration::from_secs(seconds);
            asked + life.saturating_sub(RENEW_BEFORE.min(life / 10))
        });
        Ok(Token { secret: Secret::new(answer.access_token), renew_at })
    }
}

fn token_error(status: u16, retry_after: Option<Duration>, body: &[u8]) -> CatalogError {
    let described = match serde_json::from_slice::<TokenError>(body) {
        Ok(TokenError { error, error_description: Some(description) }) => format!("{error}: {description}"),
        Ok(TokenError { error, error_description: None }) => error,
        Err(_) => String::new(),
    };
    let message = format!("token endpoint: status {status} {described}");
    match status {
        429 | 500..=599 => CatalogError::Unavailable { message, retry_after },
        // RFC 6749 says wrong client credentials with 400 or 401.
        _ => CatalogError::Unauthorized { message },
    }
}
