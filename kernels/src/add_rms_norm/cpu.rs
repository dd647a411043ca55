//! Plain loops: squares summed in f64.

use crate::element::Element;

pub(super) fn rms_norm<T: Element>(x: &[T], weight: &[T], size: usize, eps: f64) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(size) {
        let squares: f64 = row.iter().map(|x| f64::from(x.widen()).powi(2)).sum();
        let scale = 1.0 / (squares / size as f64 + eps).sqrt();
        let normed = row.iter().zip(weight);
        out.extend(
            normed.map(|(x, w)| T::narrow((f64::from(x.widen()) * scale) as f32 * w.widen())),
        );
    }
    out
}
