//! What one backend remembers about its login between requests, and the decision what to do with the login at hand.
//!
//! Pure. It keeps digests, never tokens. A refresh that changed nothing is not tried again for the same content
//! (CODEX.md §3.2): the CLI would send the same spent refresh token once more.

use crate::providers::codex::login::{CodexLogin, Life};
use crate::providers::digest::sha256_hex;

#[derive(Debug, Default)]
pub struct Memory {
    /// The token that the upstream refused last.
    rejected: Option<String>,
    /// The content of the file for which a refresh changed nothing, and how badly it was needed.
    fruitless: Option<(String, Need)>,
}

/// How badly a refresh is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The token still works for some minutes.
    Soon,
    Now,
}

/// By what command the CLI refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// It sees by itself that the token is due.
    Due,
    /// It must be told to, for the token still looks good.
    Forced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Use,
    Refresh { need: Need, means: Means },
    Refuse(Refusal),
}

/// Why a login cannot be used, and no refresh would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its token has expired, and the codex CLI got no new one")]
    Expired,
    #[error("the upstream refused its token, and the codex CLI got no new one")]
    Rejected,
    #[error("its token has expired, and whoever issued it must renew it")]
    ExpiredElsewhere,
}

impl Memory {
    /// What to do with `login`, read from `content`. `now` in Unix seconds.
    pub fn decide(&self, login: &CodexLogin, content: &str, now: u64) -> Decision {
        let rejected = self.rejected.as_deref() == Some(&*digest(&login.token));
        let life = login.life(now);
        if !login.can_be_refreshed() {
            return if life == Life::Over { Decision::Refuse(Refusal::ExpiredElsewhere) } else { Decision::Use };
        }
        let need = match (rejected, life) {
            (false, Life::Good) => return Decision::Use,
            (false, Life::Due) => Need::Soon,
            (true, _) | (false, Life::Over) => Need::Now,
        };
        let tried = self.fruitless.as_ref().is_some_and(|(tried, before)| tried == content && *before >= need);
        match (tried, need) {
            (true, Need::Soon) => Decision::Use,
            (true, Need::Now) if life == Life::Over => Decision::Refuse(Refusal::Expired),
            (true, Need::Now) => Decision::Refuse(Refusal::Rejected),
            (false, _) if life == Life::Good => Decision::Refresh { need, means: Means::Forced },
            (false, _) => Decision::Refresh { need, means: Means::Due },
        }
    }

    /// The upstream answered 401 to this token.
    pub fn rejected(&mut self, token: &str) {
        self.rejected = Some(digest(token));
    }

    /// A refresh was tried, and the file still holds this content.
    pub fn fruitless(&mut self, content: String, need: Need) {
        self.fruitless = Some((content, need));
    }

    /// A person asked to look again: refreshes may be tried anew.
    pub fn forgive(&mut self) {
        self.fruitless = None;
    }
}

fn digest(token: &str) -> String {
    sha256_hex(&["codex token", token])
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::providers::codex::login::LoginMode;

    const EXP: u64 = 10_000;

    fn login(mode: LoginMode) -> CodexLogin {
        CodexLogin { exp: Some(EXP), ..CodexLogin::of_token(Zeroizing::new("token".to_owned()), mode) }
    }

    fn decide(memory: &Memory, now: u64) -> Decision {
        memory.decide(&login(LoginMode::ChatGpt), "content", now)
    }

    const FORCED: Decision = Decision::Refresh { need: Need::Now, means: Means::Forced };
    const SOON: Decision = Decision::Refresh { need: Need::Soon, means: Means::Due };
    const NOW: Decision = Decision::Refresh { need: Need::Now, means: Means::Due };

    #[test]
    fn a_good_token_is_used_and_a_due_one_refreshed() {
        let memory = Memory::default();
        for (now, decision) in [(0, Decision::Use), (EXP - 300, SOON), (EXP, NOW), (EXP + 1, NOW)] {
            assert_eq!(decide(&memory, now), decision, "{now}");
        }
    }

    #[test]
    fn a_refused_token_is_refreshed_by_force_and_another_one_used() {
        let mut memory = Memory::default();
        memory.rejected("token");
        assert_eq!(decide(&memory, 0), FORCED);
        assert_eq!(decide(&memory, EXP - 1), NOW, "the CLI refreshes a due one by itself");
        memory.rejected("an older token");
        assert_eq!(decide(&memory, 0), Decision::Use);
    }

    #[test]
    fn a_fruitless_refresh_is_not_tried_again_for_the_same_content() {
        let mut memory = Memory::default();
        memory.rejected("token");
        memory.fruitless("content".to_owned(), Need::Now);
        assert_eq!(decide(&memory, 0), Decision::Refuse(Refusal::Rejected));
        assert_eq!(decide(&memory, EXP), Decision::Refuse(Refusal::Expired));
        assert_eq!(memory.decide(&login(LoginMode::ChatGpt), "another", 0), FORCED);
        memory.forgive();
        assert_eq!(decide(&memory, 0), FORCED);
    }

    #[test]
    fn a_token_that_could_not_be_renewed_early_is_used_up_to_its_end() {
        let mut memory = Memory::default();
        memory.fruitless("content".to_owned(), Need::Soon);
        assert_eq!(decide(&memory, EXP - 1), Decision::Use);
        assert_eq!(decide(&memory, EXP), NOW, "once more when it matters");
    }

    #[test]
    fn what_the_cli_does_not_own_it_cannot_refresh() {
        let mut memory = Memory::default();
        memory.rejected("token");
        for mode in [LoginMode::External, LoginMode::ApiKey, LoginMode::PersonalAccessToken] {
            assert_eq!(memory.decide(&login(mode), "content", 0), Decision::Use, "{mode:?}");
            let refused = Decision::Refuse(Refusal::ExpiredElsewhere);
            assert_eq!(memory.decide(&login(mode), "content", EXP), refused, "{mode:?}");
        }
    }
}
