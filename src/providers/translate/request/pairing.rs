//! Every call gets exactly one output, every output its call (WIRE.md Q-M32).
//!
//! OpenAI refuses a conversation with half a pair, and an interrupted tool call would make a session unusable for ever.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use super::parts::composed;
use crate::providers::json_text::{TextWriter, inside, quote};
use crate::providers::openai::wire::request::{Item, Output, Part, Role};
use crate::providers::translate::call_ids;

const INTERRUPTED: &str = "[tool result missing: the call was interrupted]";

/// Pairs calls and outputs. The calls that the input ends with may still be without.
pub(super) fn pair(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    answer_calls(match_outputs(items))
}

/// Gives repeated call ids a suffix, and turns outputs that answer no open call into user messages.
fn match_outputs(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let mut ids = CallIds::of(&items);
    let paired = items.into_iter().map(|item| match item {
        Item::FunctionCall { call_id, name, arguments } => {
            Item::FunctionCall { call_id: ids.call(call_id), name, arguments }
        }
        Item::FunctionCallOutput { call_id, output } => match ids.answer(&call_id) {
            Some(call_id) => Item::FunctionCallOutput { call_id, output },
            None => stray(&call_id, output),
        },
        other @ (Item::Message { .. } | Item::Reasoning { .. } | Item::AdditionalTools { .. }) => other,
    });
    paired.collect()
}

struct CallIds<'a> {
    /// All ids of calls, given ones and made ones.
    known: HashSet<Cow<'a, str>>,
    /// How many calls had this id so far.
    seen: HashMap<Cow<'a, str>, usize>,
    /// Calls of this id that wait for an output, under their final ids.
    open: HashMap<Cow<'a, str>, VecDeque<Cow<'a, str>>>,
}

impl<'a> CallIds<'a> {
    fn of(items: &[Item<'a>]) -> Self {
        let ids = items.iter().filter_map(|item| match item {
            Item::FunctionCall { call_id, .. } => Some(call_id.clone()),
            Item::Message { .. }
            | Item::FunctionCallOutput { .. }
            | Item::Reasoning { .. }
            | Item::AdditionalTools { .. } => None,
        });
        Self { known: ids.collect(), seen: HashMap::new(), open: HashMap::new() }
    }

    /// The final id of a call: its own, or with `_2`, `_3`, … if it is not the first of that id.
    fn call(&mut self, id: Cow<'a, str>) -> Cow<'a, str> {
        let nth = self.seen.entry(id.clone()).or_insert(0);
        *nth += 1;
        let mut made = id.clone();
        if *nth > 1 {
            let suffixed = |nth: usize| call_ids::sanitise(&format!("{id}_{nth}")).into_owned();
            made = Cow::Owned(suffixed(*nth));
            while self.known.contains(&made) {
                *nth += 1;
                made = Cow::Owned(suffixed(*nth));
            }
            self.known.insert(made.clone());
        }
        self.open.entry(id).or_default().push_back(made.clone());
        made
    }

    /// The final id of the call that an output of `id` answers: the oldest open one.
    fn answer(&mut self, id: &str) -> Option<Cow<'a, str>> {
        self.open.get_mut(id)?.pop_front()
    }
}

/// An output without a call: its data is kept as a user message.
fn stray<'a>(call_id: &str, output: Output<'a>) -> Item<'a> {
    let introduction = format!("[result of an earlier tool call {call_id}] ");
    let content = match output {
        Output::Text(text) => {
            let mut joined = TextWriter::with_capacity(introduction.len() + text.get().len());
            joined.plain(&introduction).escaped(inside(&text));
            vec![Part::InputText { text: joined.finish() }]
        }
        Output::Parts(parts) => std::iter::once(composed(&introduction)).chain(parts).collect(),
    };
    Item::Message { role: Role::User, content, phase: None }
}

/// Answers calls that nothing answers, directly behind the run of calls they stand in.
fn answer_calls(items: Vec<Item<'_>>) -> Vec<Item<'_>> {
    let answered: HashSet<String> = items
        .iter()
        .filter_map(|item| match item {
            Item::FunctionCallOutput { call_id, .. } => Some(call_id.clone().into_owned()),
            Item::Message { .. }
            | Item::FunctionCall { .. }
            | Item::Reasoning { .. }
            | Item::AdditionalTools { .. } => None,
        })
        .collect();
    let mut paired = Vec::with_capacity(items.len());
    let mut unanswered = Vec::new();
    let mut run_end = 0;
    for item in items {
        match &item {
            Item::FunctionCall { call_id, .. } => {
                unanswered.extend((!answered.contains(&**call_id)).then(|| call_id.clone()));
                run_end = paired.len() + 1;
            }
            Item::Reasoning { .. } | Item::AdditionalTools { .. } => {}
            Item::Message { .. } | Item::FunctionCallOutput { .. } => {
                paired.splice(run_end..run_end, unanswered.drain(..).map(interrupted));
            }
        }
        paired.push(item);
    }
    paired
}

fn interrupted<'a>(call_id: Cow<'a, str>) -> Item<'a> {
    Item::FunctionCallOutput { call_id, output: Output::Text(quote(INTERRUPTED)) }
}
