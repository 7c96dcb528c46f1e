//! Web searches that the upstream ran, as the blocks that Anthropic's own search would give (WIRE.md §2.7).

use std::collections::BTreeMap;

use super::ids;
use crate::providers::anthropic::events::SearchResult;
use crate::providers::escaped::escape_into;
use crate::providers::openai::wire::events::{Annotation, OutputItem, SearchAction};

/// Citations and sources that are kept of one response.
const MAX_LINKS: usize = 1000;

/// A finished search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    pub query: String,
    /// Absent when the search failed.
    pub results: Option<Vec<SearchResult>>,
}

/// The titles that citations gave to links so far, in the order of the links.
#[derive(Debug, Default)]
pub(super) struct Citations {
    titles: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Citations {
    pub(super) fn note(&mut self, annotation: &Annotation<'_>) {
        let Some(url) = annotation.url() else { return };
        if self.order.len() < MAX_LINKS && !self.titles.contains_key(&*url) {
            let title = annotation.title().unwrap_or_else(|| host(&url).to_owned().into());
            self.titles.insert(url.clone().into_owned(), title.into_owned());
            self.order.push(url.into_owned());
        }
    }

    fn results(&self, sources: &[Annotation<'_>]) -> Vec<SearchResult> {
        let mut results: Vec<SearchResult> = Vec::new();
        let urls = sources.iter().filter_map(Annotation::url).map(|url| url.into_owned());
        for url in urls.take(MAX_LINKS).chain(self.order.iter().cloned()) {
            if results.iter().all(|known| known.url != url) {
                let stated = sources.iter().find(|source| source.url().as_deref() == Some(&url));
                let title = self.titles.get(&url).cloned().or_else(|| Some(stated?.title()?.into_owned()));
                results.push(SearchResult { title: title.unwrap_or_else(|| host(&url).to_owned()), url });
            }
        }
        results
    }
}

impl Search {
    pub(super) fn of(item: &OutputItem<'_>, citations: &Citations) -> Self {
        let action = item.action().unwrap_or_default();
        let results = (!item.failed()).then(|| citations.results(&action.sources()));
        Self { query: query(&action), results }
    }

    /// The input of the tool use block, as JSON.
    pub(super) fn input(&self) -> String {
        let mut input = String::from("{\"query\":\"");
        escape_into(&self.query, &mut input);
        input.push_str("\"}");
        input
    }

    /// The block id for the item that the upstream calls `item_id`.
    pub(super) fn block_id(item_id: &str) -> String {
        ids::search_id(item_id)
    }
}

fn query(action: &SearchAction<'_>) -> String {
    let queries = action.queries();
    match (action.query(), action.url()) {
        (Some(query), _) => query.into_owned(),
        (None, _) if !queries.is_empty() => queries.join(" | "),
        (None, Some(url)) => format!("open: {url}"),
        (None, None) => String::new(),
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}
