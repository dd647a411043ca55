//! Stop strings equal a search in the whole text, however the text is cut.

use portcullis_text::StopMatcher;
use proptest::collection::vec;
use proptest::prelude::*;

/// What is left of a text: up to the stop string that is complete first.
fn naive<'a>(text: &'a str, stops: &[String]) -> (&'a str, bool) {
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    for end in ends {
        let met = stops
            .iter()
            .filter(|stop| !stop.is_empty() && text[..end].ends_with(*stop));
        if let Some(longest) = met.map(String::len).max() {
            return (&text[..end - longest], true);
        }
    }
    (text, false)
}

/// Pushes the pieces, and checks on the way that nothing is given out too early.
fn streamed(pieces: &[String], stops: &[String]) -> (String, bool) {
    let mut matcher = StopMatcher::new(stops.to_vec());
    let mut text = String::new();
    for piece in pieces {
        let step = matcher.push(piece);
        text.push_str(&step.text);
        if step.stopped {
            assert_eq!(matcher.push("more").text, "", "text after a stop");
            assert_eq!(matcher.finish(), "", "text after a stop");
            return (text, true);
        }
    }
    (text + &matcher.finish(), false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn equals_the_search_in_the_whole(
        pieces in vec("[abé👋]{0,4}", 0..8),
        stops in vec("[abé👋]{0,4}", 0..4),
    ) {
        let whole = pieces.concat();
        let (text, stopped) = streamed(&pieces, &stops);
        prop_assert_eq!((text.as_str(), stopped), naive(&whole, &stops));
    }

    #[test]
    fn holds_back_no_more_than_needed(text in "[ab]{0,12}", stops in vec("[ab]{1,4}", 1..4)) {
        let mut matcher = StopMatcher::new(stops.clone());
        let step = matcher.push(&text);
        if !step.stopped {
            let held = matcher.finish();
            let needed = |held: &&str| stops.iter().any(|stop| stop.starts_with(*held));
            prop_assert!(held.is_empty() || needed(&held.as_str()), "{held} begins no stop string");
        }
    }
}

#[test]
fn a_stop_string_may_come_in_pieces() {
    let stops = ["\nUser:".to_owned(), "</end>".to_owned()];
    let pieces = ["Yes.\n", "Us", "e", "ful.\nUse", "r: and on"].map(str::to_owned);
    assert_eq!(
        streamed(&pieces, &stops),
        ("Yes.\nUseful.".to_owned(), true)
    );
}
