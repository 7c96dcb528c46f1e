//! The JSON of the `codex` CLI's files and of the Codex backend's side endpoints, as far as we read it.
//!
//! Fields that may be missing are options; fields that we do not name are ignored. Numbers that come in several forms
//! (`12`, `12.5`, `"12.5"`) are read by [`number`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// `auth.json`. Secrets are read into memory that is overwritten after use.
#[derive(Deserialize)]
pub(super) struct AuthFile {
    pub auth_mode: Option<String>,
    #[serde(rename = "OPENAI_API_KEY")]
    pub api_key: Option<Secret>,
    pub tokens: Option<Tokens>,
    pub personal_access_token: Option<Secret>,
}

#[derive(Deserialize)]
pub(super) struct Tokens {
    pub id_token: Option<Secret>,
    pub access_token: Option<Secret>,
    pub account_id: Option<String>,
}

/// A text that is overwritten in memory after use.
#[derive(Deserialize)]
#[serde(from = "String")]
pub(super) struct Secret(pub Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// The claims that we read of an access or an id token.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    #[serde(deserialize_with = "whole_number")]
    pub exp: Option<u64>,
    pub email: Option<String>,
    #[serde(rename = "https://api.openai.com/auth")]
    pub auth: AuthClaims,
    #[serde(rename = "https://api.openai.com/profile")]
    pub profile: ProfileClaims,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthClaims {
    pub chatgpt_account_id: Option<String>,
    pub chatgpt_plan_type: Option<String>,
    pub chatgpt_account_is_fedramp: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ProfileClaims {
    pub email: Option<String>,
}

/// The one key of `config.toml` that says where the login is kept.
#[derive(Deserialize)]
pub(super) struct Config {
    pub cli_auth_credentials_store: Option<String>,
}

/// `GET /wham/accounts/check`.
#[derive(Deserialize)]
pub(super) struct AccountsCheck {
    pub accounts: Vec<Account>,
}

#[derive(Deserialize)]
pub(super) struct Account {
    pub id: Option<String>,
    pub workspace_backend_origin: Option<String>,
    pub account_routing_override: Option<String>,
}

/// `GET /codex/models`, `models_cache.json` and what `codex debug models` prints.
#[derive(Deserialize)]
pub(super) struct Catalogue {
    pub models: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct CatalogueModel {
    pub slug: String,
    pub display_name: Option<String>,
    pub visibility: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub priority: Option<f64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub context_window: Option<u64>,
    pub supported_reasoning_levels: Option<Vec<ReasoningLevel>>,
    pub service_tiers: Option<Vec<ServiceTier>>,
    pub use_responses_lite: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct ReasoningLevel {
    pub effort: String,
}

#[derive(Deserialize)]
pub(super) struct ServiceTier {
    pub id: Option<String>,
}

/// The `codex.rate_limits` event.
#[derive(Deserialize)]
pub(super) struct RateLimitsEvent {
    pub plan_type: Option<String>,
    pub rate_limits: Option<RateLimits>,
}

#[derive(Deserialize)]
pub(super) struct RateLimits {
    pub limit_reached: Option<bool>,
    pub primary: Option<Window>,
    pub secondary: Option<Window>,
}

#[derive(Deserialize)]
pub(super) struct Window {
    #[serde(default, deserialize_with = "number")]
    pub used_percent: Option<f64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub window_minutes: Option<u64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub limit_window_seconds: Option<u64>,
    #[serde(default, deserialize_with = "whole_number")]
    pub reset_at: Option<u64>,
}

/// `GET /wham/usage`.
#[derive(Deserialize)]
pub(super) struct Usage {
    pub plan_type: Option<String>,
    pub rate_limit: Option<UsageLimits>,
}

#[derive(Deserialize)]
pub(super) struct UsageLimits {
    pub limit_reached: Option<bool>,
    pub primary_window: Option<Window>,
    pub secondary_window: Option<Window>,
}

/// One line that we write to `codex app-server`: JSON-RPC without its version field.
#[derive(Serialize)]
pub(super) struct Call<'a, P> {
    pub method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<P>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Initialize<'a> {
    pub client_info: ClientInfo<'a>,
}

#[derive(Serialize)]
pub(super) struct ClientInfo<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthStatusParams {
    pub include_token: bool,
    pub refresh_token: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountReadParams {
    pub refresh_token: bool,
}

/// One line that it writes: a notification has no `id`.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub id: Option<u32>,
    #[serde(borrow)]
    pub result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<CallError<'a>>,
}

#[derive(Deserialize)]
pub(super) struct CallError<'a> {
    #[serde(borrow)]
    pub message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthStatus {
    pub auth_method: Option<String>,
    pub auth_token: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountRead {
    pub account: Option<AppAccount>,
    pub workspace_routing: Option<WorkspaceRouting>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppAccount {
    pub email: Option<String>,
    pub plan_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkspaceRouting {
    pub chatgpt_account_id: Option<String>,
}

/// A number, or a text that is one; anything else, and what is not finite, counts as missing.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    struct Loose;

    impl<'de> Visitor<'de> for Loose {
        type Value = Option<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            Ok(Some(value).filter(|value| value.is_finite()))
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(value as f64))
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            Ok(Some(value as f64))
        }

        fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
            Ok(value.trim().parse().ok().filter(|value: &f64| value.is_finite()))
        }

        fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    deserializer.deserialize_any(Loose)
}

/// [`number`] without its fraction; negative counts as missing.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(number(deserializer)?.filter(|value| *value >= 0.0).map(|value| value as u64))
}
