//! Generated text on its way out: stop strings however the text is cut, and what terminals obey.

use deepthin_runtime::stop::{StopError, StopStrings};
use deepthin_runtime::text::{Utf8Stream, visible};
use proptest::prelude::*;

/// What a search over the whole text finds: the text before the stop string that is complete
/// first, the longest of several, and which it is.
fn searched(text: &str, stops: &[String]) -> (String, Option<String>) {
    for end in 1..=text.len() {
        let before = &text.as_bytes()[..end];
        let complete = stops.iter().filter(|stop| before.ends_with(stop.as_bytes()));
        if let Some(stop) = complete.max_by_key(|stop| stop.len()) {
            return (text[..end - stop.len()].to_owned(), Some(stop.clone()));
        }
    }
    (text.to_owned(), None)
}

/// What comes out of a text whose bytes come in pieces that end at `cuts`; also after each piece.
fn streamed(text: &str, stops: &[String], cuts: &[usize]) -> (Vec<String>, Option<String>) {
    let mut strings = StopStrings::new(stops).unwrap();
    let mut characters = Utf8Stream::new();
    let mut shown = vec![String::new()];
    let mut start = 0;
    for &end in cuts.iter().chain([&text.len()]) {
        let piece = characters.push(&text.as_bytes()[start..end]);
        let next = shown.last().unwrap().clone() + &strings.push(&piece);
        shown.push(next);
        start = end;
    }
    let last =
        shown.last().unwrap().clone() + &strings.push(&characters.flush()) + &strings.flush();
    shown.push(last);
    (shown, strings.met().map(str::to_owned))
}

proptest! {
    /// However a text is cut, even within characters, it ends where a search over the whole of it
    /// says, and nothing is shown on the way that is taken back.
    #[test]
    fn stop_strings_are_those_of_a_search_over_the_whole_text(
        text in "[abé🙂]{0,40}",
        stops in prop::collection::vec("[abé🙂]{1,5}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let (before, met) = searched(&text, &stops);
        let (shown, found) = streamed(&text, &stops, &cuts);
        prop_assert_eq!(&found, &met);
        prop_assert_eq!(shown.last().unwrap(), &before);
        for part in &shown {
            prop_assert!(before.starts_with(part.as_str()), "{:?} of {:?}", part, before);
        }
    }

    /// No more is held back than what may begin a stop string.
    #[test]
    fn only_what_may_be_a_stop_string_is_held_back(
        text in "[ab]{0,30}",
        stops in prop::collection::vec("[ab]{1,6}", 1..3),
    ) {
        let mut strings = StopStrings::new(&stops).unwrap();
        let shown = strings.push(&text);
        if strings.met().is_none() {
            let held = &text[shown.len()..];
            let begins = |part: &str| stops.iter().any(|stop| stop.starts_with(part));
            prop_assert!(held.is_empty() || begins(held), "{:?}", held);
            let longer = (0..shown.len()).map(|start| &text[start..]).find(|part| begins(part));
            prop_assert_eq!(longer, None);
        }
    }

    /// What is shown has nothing that steers, and what steers nothing is as it was.
    #[test]
    fn visible_text_steers_nothing(text in "(\\PC|\\p{Cc}|[\u{200e}\u{202a}-\u{202e}\u{2066}-\u{2069}]){0,40}") {
        let shown = visible(&text);
        let harmless = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
        let ordered = |c: char| !('\u{202a}'..='\u{202e}').contains(&c) && !('\u{2066}'..='\u{2069}').contains(&c);
        prop_assert!(shown.chars().all(|c| harmless(c) && ordered(c)), "{:?}", shown);
        if text.chars().all(|c| harmless(c) && ordered(c)) {
            prop_assert_eq!(&shown, &text);
        }
    }
}

#[test]
fn the_first_complete_stop_string_ends_the_text() {
    let stops = ["bc", "abcd", "é!"].map(str::to_owned);
    let push = |text: &str| {
        let mut strings = StopStrings::new(&stops).unwrap();
        (strings.push(text), strings.met().map(str::to_owned))
    };
    assert_eq!(push("xabcd"), ("xa".to_owned(), Some("bc".to_owned())), "though abcd is there");
    assert_eq!(push("xab"), ("x".to_owned(), None), "ab may begin one");
    assert_eq!(push("xé"), ("x".to_owned(), None));
    assert_eq!(push("xé!y"), ("x".to_owned(), Some("é!".to_owned())));
    let both = ["b", "ab"].map(str::to_owned);
    let mut strings = StopStrings::new(&both).unwrap();
    assert_eq!((strings.push("aab").as_str(), strings.met()), ("a", Some("ab")), "the longest");
    assert_eq!(strings.push("more"), "", "there is no text behind it");
    assert_eq!(strings.flush(), "");
    assert_eq!(StopStrings::new(&["a".into(), String::new()]).unwrap_err(), StopError::Empty(2));
}

#[test]
fn what_terminals_obey_is_shown_by_its_number() {
    let shown = |text: &str| visible(text).into_owned();
    assert_eq!(shown("\x1b]0;title\x07\x1b[31m"), "\\u{1b}]0;title\\u{7}\\u{1b}[31m");
    assert_eq!(shown("\u{9b}31m\u{7f}\r\u{8}"), "\\u{9b}31m\\u{7f}\\u{d}\\u{8}");
    assert_eq!(shown("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
    for text in ["a\n\tb", "שלום\u{200f}!", "👩\u{200d}👧", "é\u{301}\u{a0}\u{feff}"] {
        assert_eq!(shown(text), text);
    }
}
