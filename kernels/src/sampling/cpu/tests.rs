use proptest::prelude::*;

use super::*;

#[test]
fn penalties_lower_what_was_said() {
    let row = DrawRow {
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        repetition_penalty: 2.0,
        prompt: &[0],
        completion: &[1, 1],
        ..DrawRow::default()
    };
    let mut logits = vec![4.0, 4.0, -1.0];
    penalise(&mut logits, &row);
    assert_eq!(logits, [2.0, 2.0 - 0.5 - 0.5, -1.0]);
}

proptest! {
    /// A word at a time is the same as token by token; what is beyond the words, as in a model
    /// whose vocabulary is padded, is not allowed.
    #[test]
    fn keeps_exactly_what_is_allowed(words in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 0..4), vocab in 1usize..130) {
        let mut logits = vec![1.0; vocab];
        keep_allowed(&mut logits, &words);
        for (token, logit) in logits.iter().enumerate() {
            prop_assert_eq!(logit.is_finite(), words.get(token / 32).is_some_and(|word| word >> (token % 32) & 1 == 1));
        }
    }

    /// The nucleus found piecewise equals the one of a full sort.
    #[test]
    fn nucleus_equals_full_sort(logits in prop::collection::vec(-8.0f32..8.0, 1..400), top_p in 0.01f32..0.99) {
        let all = || logits.iter().enumerate().map(|(t, &logit)| Candidate { token: t as u32, logit });
        let mut piecewise: Vec<_> = all().collect();
        keep_nucleus(&mut piecewise, top_p);

        let mut sorted: Vec<_> = all().collect();
        sorted.sort_by(likeliest_first);
        let log_sum = log_sum_exp(&sorted);
        let mut mass = 0.0f64;
        let enough = |c: &Candidate| {
            let before = mass;
            mass += (f64::from(c.logit) - log_sum).exp();
            before < f64::from(top_p)
        };
        let expected: Vec<_> = sorted.iter().copied().take_while(enough).collect();
        prop_assert_eq!(piecewise, expected);
    }
}
