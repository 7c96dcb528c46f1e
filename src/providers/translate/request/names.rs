//! Tool names that the upstream accepts (WIRE.md Q-T7): one bijection per request.
//!
//! Names that conform never change. The others get a name made of themselves alone (a digest, no counter), so it is the
//! same in every turn whatever else is declared.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::providers::anthropic::wire::{AddedTool, Block, Content, MessagesRequest, Tool, loose};
use crate::providers::digest::sha256_hex;
use crate::providers::json_text::JsonText;
use crate::providers::translate::ToolNames;
use crate::providers::translate::call_ids::is_legal;

/// Characters: OpenAI's limit for function names.
const LONGEST: usize = 64;
/// Characters kept of a name that is cut: with `_` and 8 hex digits it is as long as allowed.
const KEPT: usize = 55;

/// The names of this request that had to change.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The client's name to ours.
    changed: BTreeMap<String, String>,
}

impl Names {
    /// Looks at declared tools, tools added on the way, every call in the history and the forced tool.
    pub(super) fn of(request: &MessagesRequest<'_>) -> Self {
        let mut odd = BTreeSet::new();
        each_name(request, &mut |name| {
            if !conforms(name.escaped()) {
                odd.insert(name.decode().into_owned());
            }
        });
        if odd.is_empty() {
            return Self::default();
        }
        let mut taken = BTreeSet::new();
        each_name(request, &mut |name| {
            if conforms(name.escaped()) {
                taken.insert(name.escaped());
            }
        });
        let mut claims: BTreeMap<String, usize> = BTreeMap::new();
        for name in &odd {
            *claims.entry(replaced(name)).or_default() += 1;
        }
        let sent = |name: &String| {
            let candidate = replaced(name);
            let free = conforms(&candidate) && !taken.contains(&*candidate) && claims.get(&candidate) == Some(&1);
            if free { candidate } else { hashed(name) }
        };
        Self { changed: odd.iter().map(|name| (name.clone(), sent(name))).collect() }
    }

    /// The name to send for the client's `name`.
    pub(super) fn sent<'a>(&self, name: JsonText<'a>) -> Cow<'a, str> {
        if conforms(name.escaped()) {
            return Cow::Borrowed(name.escaped());
        }
        let name = name.decode();
        let known = self.changed.get(&*name).cloned();
        Cow::Owned(known.unwrap_or_else(|| hashed(&name)))
    }

    pub(super) fn into_tool_names(self) -> ToolNames {
        let mut names = ToolNames::default();
        for (name, sent) in self.changed {
            names.insert(sent, name);
        }
        names
    }
}

fn conforms(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_legal)
}

fn replaced(name: &str) -> String {
    name.chars().map(|c| if u8::try_from(c).is_ok_and(is_legal) { c } else { '_' }).collect()
}

fn hashed(name: &str) -> String {
    let digest = sha256_hex(&[name]);
    replaced(name).chars().take(KEPT).chain("_".chars()).chain(digest.chars().take(8)).collect()
}

fn each_name<'r, 'a: 'r>(request: &'r MessagesRequest<'a>, see: &mut impl FnMut(JsonText<'a>)) {
    let mut see_raw = |raw: Option<&'a serde_json::value::RawValue>| {
        if let Some(name) = raw.and_then(JsonText::of) {
            see(name);
        }
    };
    request.tools().iter().for_each(|tool| see_raw(tool.name));
    if let Some(choice) = request.tool_choice() {
        see_raw(choice.name);
    }
    for message in request.messages() {
        let Some(Content::Blocks(blocks)) = &message.content else { continue };
        for block in blocks {
            match &*block.kind() {
                "tool_use" | "mcp_tool_use" => see_raw(block.name),
                "tool_addition" => see_raw(added_tool(block).and_then(|tool| tool.name)),
                _ => {}
            }
        }
    }
}

/// The definition that a `tool_addition` block carries, if it carries one (Q-M5).
pub(super) fn added_tool<'a>(block: &Block<'a>) -> Option<Tool<'a>> {
    loose::<AddedTool<'a>>(block.tool).and_then(|added| loose(added.definition))
}
