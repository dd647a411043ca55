//! A sort a token.

use crate::element::Element;

pub(super) fn route<T: Element>(
    logits: &[T],
    num_experts: usize,
    experts_per_token: usize,
) -> (Vec<u32>, Vec<f32>) {
    let (mut experts, mut weights) = (Vec::new(), Vec::new());
    for row in logits.chunks_exact(num_experts) {
        let row: Vec<f32> = row.iter().map(|logit| logit.widen()).collect();
        let chosen = likeliest(&row, experts_per_token);
        weights.extend(softmax(chosen.iter().map(|&expert| row[expert as usize])));
        experts.extend(chosen);
    }
    (experts, weights)
}

/// The indices of the `k` largest; ties go to the lower one.
fn likeliest(logits: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    order.truncate(k);
    order
}

/// Of logits whose largest stands first.
fn softmax(logits: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
    let Some(max) = logits.clone().next() else {
        return Vec::new();
    };
    let exponentials: Vec<f32> = logits.map(|logit| (logit - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}
