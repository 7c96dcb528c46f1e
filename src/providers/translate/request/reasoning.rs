//! Thinking blocks that are ours become reasoning items again (WIRE.md §1.5).

use std::borrow::Cow;

use super::RequestContext;
use crate::providers::anthropic::wire::Block;
use crate::providers::json_text::JsonText;
use crate::providers::openai::models::undated;
use crate::providers::openai::wire::request::{Item, Phase, ReasoningText, Role};
use crate::providers::translate::call_ids;
use crate::providers::translate::envelope::{Envelope, Kept, PREFIX};

/// A reasoning item, and what its envelope says beside it.
pub(super) struct Replay<'a> {
    pub item: Item<'a>,
    /// The call, by its id upstream, that it stood directly behind (Q-R5).
    pub after: Option<String>,
    /// Of the message that follows.
    pub phase: Option<Phase>,
}

/// The item to replay for a thinking block: only if this very upstream made it, with a model of the same family
/// (Q-R2). Everything else is dropped silently.
pub(super) fn replay<'a>(block: &Block<'a>, context: &RequestContext<'_>, in_tool_loop: bool) -> Option<Replay<'a>> {
    if context.omit.reasoning_items {
        return None;
    }
    let sealed = block.signature.or(block.data).and_then(JsonText::of)?;
    if !sealed.escaped().starts_with(PREFIX) {
        return None;
    }
    let envelope = Envelope::decode(&sealed.decode(), context.scope)?;
    if undated(&envelope.model) != undated(context.model.id.as_str()) {
        return None;
    }
    let item = match envelope.kept {
        Kept::Encrypted(content) if context.profile.encrypted_reasoning => {
            Item::Reasoning { summary: [], content: None, encrypted_content: Some(content) }
        }
        Kept::Encrypted(_) => return None,
        // OpenAI and Codex take reasoning back in no other form than the encrypted one (WIRE.md §0).
        Kept::PlainText if context.profile.is_custom() => plain(block, in_tool_loop)?,
        Kept::PlainText => return None,
    };
    let after = envelope.after.map(|id| call_ids::sanitise(&id).into_owned());
    Some(Replay { item, after, phase: envelope.phase })
}

/// Reasoning in plain words goes back inside the current tool loop only (Q-R4).
fn plain<'a>(block: &Block<'a>, in_tool_loop: bool) -> Option<Item<'a>> {
    let text = block.thinking.and_then(JsonText::of).filter(|text| in_tool_loop && !text.is_empty())?;
    let content = Some([ReasoningText::ReasoningText { text: Cow::Borrowed(text.raw()) }]);
    Some(Item::Reasoning { summary: [], content, encrypted_content: None })
}

/// Undoes `claude`'s reordering (Q-R5): reasoning that stood behind a call of the same message moves back there.
/// `moves` holds the items' indices, ascending, and the calls' ids.
pub(super) fn restore_order(items: &mut [Item<'_>], moves: &[(usize, String)]) {
    // From the last to the first, so that several behind one call keep their order.
    for (from, after) in moves.iter().rev() {
        let is_call = |item: &Item<'_>| matches!(item, Item::FunctionCall { call_id, .. } if **call_id == **after);
        if let Some(distance) = items[*from..].iter().position(is_call) {
            items[*from..=*from + distance].rotate_left(1);
        }
    }
}

/// Drops reasoning that nothing of the assistant's follows: upstreams refuse it (Q-R6).
pub(super) fn drop_orphans(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let mut follower_is_ours = false;
    let mut kept: Vec<Item<'_>> = Vec::with_capacity(items.len());
    for item in items.into_iter().rev() {
        match &item {
            Item::Reasoning { .. } if !follower_is_ours => continue,
            Item::Reasoning { .. } | Item::FunctionCall { .. } => follower_is_ours = true,
            Item::Message { role, .. } => follower_is_ours = *role == Role::Assistant,
            Item::FunctionCallOutput { .. } | Item::AdditionalTools { .. } => follower_is_ours = false,
        }
        kept.push(item);
    }
    kept.reverse();
    kept
}
