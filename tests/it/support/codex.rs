//! A ChatGPT login as the codex CLI leaves it, and a stand-in for that CLI: a few lines of shell that count how they are
//! called and renew the login from a file that the test has laid out.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::world::World;

pub const FOREVER: u64 = 4_102_444_800;

/// A token nobody could have issued: its `name` makes it unlike others.
pub fn token(name: &str, exp: u64) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(format!("signature-of-{name}"));
    format!("{}.{}.{signature}", part(&json!({"alg": "none"})), part(&json!({"exp": exp, "jti": name})))
}

/// `auth.json` with this access token and account.
pub fn login(token: &str, account: &str) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims =
        json!({"exp": 1, "email": "ann@example.com", "https://api.openai.com/auth": {"chatgpt_plan_type": "pro"}});
    let id_token = format!("{}.{}.c2ln", part(&json!({"alg": "none"})), part(&claims));
    json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": {"id_token": id_token, "access_token": token,
        "refresh_token": "refresh-token-of-the-tests", "account_id": account}, "last_refresh": "2026-11-20T10:00:00Z"})
    .to_string()
}

pub fn a_minute_ago() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs() - 60
}

/// Puts `text` in the place of auth.json by a rename, as the CLI does.
pub fn replace_login(world: &World, text: &str) {
    let aside = world.write("codex/.auth-aside", text);
    std::fs::rename(aside, world.path("codex/auth.json")).expect("our own files");
}

/// The stand-in CLI of one world.
pub struct FakeCodex {
    root: PathBuf,
}

/// Renews by putting `renewed.json` in place; waits for `go` first if `held` is there.
const SCRIPT: &str = r#"#!/bin/sh
root=${CODEX_HOME%/codex}
echo "$*" >> "$root/codex-calls"
renew() {
    while [ -e "$root/held" ] && [ ! -e "$root/go" ]; do sleep 0.02; done
    if [ -e "$root/renewed.json" ]; then mv "$root/renewed.json" "$CODEX_HOME/auth.json"; fi
}
case "$*" in
    --version) echo "codex-cli 9.9.9" ;;
    "features list") renew ;;
    app-server)
        renew
        read -r initialize; read -r initialized; read -r status
        echo '{"method":"configWarning","params":{}}'
        if [ -e "$root/keyring-token" ]; then
            echo "{\"id\":2,\"result\":{\"authMethod\":\"chatgpt\",\"authToken\":\"$(cat "$root/keyring-token")\"}}"
        else
            echo '{"id":2,"result":{"authMethod":null,"authToken":null}}'
        fi
        echo '{"id":3,"result":{"account":null,"workspaceRouting":{"chatgptAccountId":"account-of-the-keyring"}}}' ;;
    "debug models") [ -e "$root/models.json" ] && cat "$root/models.json" ;;
    "login status") echo "Logged in using ChatGPT" >&2 ;;
    login) echo "asked to log in at $CODEX_HOME"; exit 7 ;;
    logout) echo "asked to log out" ;;
    *) exit 1 ;;
esac
"#;

impl FakeCodex {
    pub fn install(world: &World) -> Self {
        let path = world.write("codex-program", SCRIPT);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("our own file");
        Self { root: path.parent().expect("a file in a folder").to_owned() }
    }

    pub fn bin(&self) -> String {
        self.root.join("codex-program").display().to_string()
    }

    /// How often it was called with exactly these arguments.
    pub fn calls(&self, arguments: &str) -> usize {
        let all = std::fs::read_to_string(self.root.join("codex-calls")).unwrap_or_default();
        all.lines().filter(|line| *line == arguments).count()
    }
}

/// The names of files below `folder` that hold `text`.
pub fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text)) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
