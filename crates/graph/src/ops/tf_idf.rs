//! TfIdfVectorizer: counts of n-grams.

use crate::fact::{Facts, Tensors};
use crate::op::{Case, Operator};
use crate::{Attrs, Error, Fact, Result, samples};
use std::collections::HashMap;
use tilewright_tensor::{DType, HostTensor};

/// ONNX TfIdfVectorizer-9 over integers: \[C\] or \[N, C\] tokens become \[max(indexes) + 1\] or \[N, ..\] counts in f32.
#[derive(Clone, Debug)]
pub struct TfIdfVectorizer {
    /// What is written for an n-gram.
    pub mode: TfIdfMode,
    /// The n-grams, all 1-grams first, then all 2-grams, ...
    pub pool: Vec<i64>,
    /// Where the 1-grams, 2-grams, ... begin in the pool.
    pub counts: Vec<i64>,
    /// The place of each n-gram in the output.
    pub indexes: Vec<i64>,
    /// The weight of each n-gram; ones if empty.
    pub weights: Vec<f32>,
    /// Shortest and longest n-gram counted.
    pub lengths: (i64, i64),
    /// Most tokens left out between two of an n-gram; the distance is the same all through it.
    pub max_skip_count: i64,
}

/// What is written for an n-gram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TfIdfMode {
    /// How often it occurs.
    Tf,
    /// Its weight, if it occurs.
    Idf,
    /// How often it occurs times its weight.
    TfIdf,
}

const MODES: [(TfIdfMode, &str); 3] = [
    (TfIdfMode::Tf, "TF"),
    (TfIdfMode::Idf, "IDF"),
    (TfIdfMode::TfIdf, "TFIDF"),
];

impl TfIdfVectorizer {
    fn width(&self) -> usize {
        self.indexes.iter().max().map_or(0, |&m| m as usize + 1)
    }

    /// The number of each n-gram that is counted.
    fn grams(&self) -> HashMap<&[i64], usize> {
        let mut found = HashMap::new();
        let mut number = 0;
        let bounds = self.counts.iter().skip(1).map(|&n| n as usize);
        let ends = bounds.chain([self.pool.len()]);
        for ((n, &start), end) in (1..).zip(&self.counts).zip(ends) {
            for gram in self.pool[start as usize..end].chunks_exact(n) {
                if (self.lengths.0..=self.lengths.1).contains(&(n as i64)) {
                    found.entry(gram).or_insert(number);
                }
                number += 1;
            }
        }
        found
    }

    /// Adds the counts of a row of tokens.
    fn row(&self, grams: &HashMap<&[i64], usize>, tokens: &[i64], counts: &mut [u64]) {
        // Longer distances and n-grams than these find nothing.
        let skips = tokens.len().min(self.max_skip_count as usize + 1);
        let longest = self.counts.len().min(self.lengths.1.max(0) as usize);
        for skip in 1..=skips {
            for n in self.lengths.0.max(1) as usize..=longest {
                // Skipping changes nothing for single tokens.
                if n == 1 && skip > 1 {
                    continue;
                }
                let span = (n - 1).saturating_mul(skip);
                for start in 0..tokens.len().saturating_sub(span) {
                    let gram: Vec<i64> = tokens[start..=start + span]
                        .iter()
                        .step_by(skip)
                        .copied()
                        .collect();
                    if let Some(&number) = grams.get(&gram[..]) {
                        counts[number] += 1;
                    }
                }
            }
        }
    }

    fn check(self) -> Result<Self> {
        let bad = |what: &str| Err(Error::op("TfIdfVectorizer", what));
        let grams = self.indexes.len();
        let ordered = self.counts.windows(2).all(|w| w[0] <= w[1]);
        let inside = |&n: &i64| n >= 0 && n as usize <= self.pool.len();
        if !ordered || !self.counts.iter().all(inside) {
            return bad("ngram_counts must rise within the pool");
        }
        if self
            .indexes
            .iter()
            .any(|i| !(0..=i64::from(i32::MAX)).contains(i))
        {
            return bad("ngram_indexes must be places in the output");
        }
        if !self.weights.is_empty() && self.weights.len() != grams {
            return bad("there must be as many weights as n-grams");
        }
        if !(0..=i64::from(i32::MAX)).contains(&self.max_skip_count) {
            return bad("max_skip_count is out of range");
        }
        if self.grams().values().any(|&number| number >= grams) {
            return bad("there must be an index for each n-gram");
        }
        Ok(self)
    }
}

impl Operator for TfIdfVectorizer {
    const NAMES: &'static [&'static str] = &["TfIdfVectorizer"];

    fn attrs(&self) -> Attrs {
        Attrs::new("TfIdfVectorizer")
            .with("mode", MODES[self.mode as usize].1.to_owned())
            .with("pool_int64s", self.pool.clone())
            .with("ngram_counts", self.counts.clone())
            .with("ngram_indexes", self.indexes.clone())
            .with("weights", self.weights.clone())
            .with("min_gram_length", self.lengths.0)
            .with("max_gram_length", self.lengths.1)
            .with("max_skip_count", self.max_skip_count)
    }

    fn from_attrs(_: &str, attrs: &Attrs) -> Result<Self> {
        let mode: String = attrs.need("mode")?;
        let known = MODES.iter().find(|(_, name)| *name == mode);
        let unknown = || Error::op("TfIdfVectorizer", format!("mode `{mode}` is unknown"));
        if attrs.raw("pool_strings").is_some() {
            return Err(Error::op("TfIdfVectorizer", "strings are not tensors here"));
        }
        TfIdfVectorizer {
            mode: known.ok_or_else(unknown)?.0,
            pool: attrs.need("pool_int64s")?,
            counts: attrs.need("ngram_counts")?,
            indexes: attrs.need("ngram_indexes")?,
            weights: attrs.or("weights", vec![])?,
            lengths: (
                attrs.need("min_gram_length")?,
                attrs.need("max_gram_length")?,
            ),
            max_skip_count: attrs.need("max_skip_count")?,
        }
        .check()
    }

    fn infer(&self, inputs: Facts<'_>) -> Result<Vec<Fact>> {
        let x = inputs.req(0)?;
        let Some((_, rows)) = x.shape.split_last().filter(|(_, rows)| rows.len() < 2) else {
            return Err(inputs.error(format!("tokens must have 1 or 2 axes, got {x}")));
        };
        let mut shape = rows.to_vec();
        shape.push(self.width().into());
        Ok(vec![Fact::new(DType::F32, shape)])
    }

    fn reference(&self, inputs: Tensors<'_>) -> Result<Vec<HostTensor>> {
        let x = inputs.req(0)?;
        let Some((&length, rows)) = x.shape().split_last().filter(|(_, rows)| rows.len() < 2)
        else {
            return Err(inputs.error(format!("tokens must have 1 or 2 axes, got {:?}", x.shape())));
        };
        let (tokens, width) = (x.to_i64()?, self.width());
        let grams = self.grams();
        let count: usize = rows.iter().product();
        let mut out = vec![0f64; count * width];
        for row in 0..count {
            let mut counts = vec![0u64; self.indexes.len()];
            self.row(&grams, &tokens[row * length..][..length], &mut counts);
            for (number, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let weight = self.weights.get(number).map_or(1.0, |&w| f64::from(w));
                out[row * width + self.indexes[number] as usize] += match self.mode {
                    TfIdfMode::Tf => count as f64,
                    TfIdfMode::Idf => weight,
                    TfIdfMode::TfIdf => count as f64 * weight,
                };
            }
        }
        let mut shape = rows.to_vec();
        shape.push(width);
        Ok(vec![HostTensor::from_f64(DType::F32, shape, out)?])
    }

    fn cases() -> Vec<Case> {
        let op = |mode: TfIdfMode, lengths: (i64, i64), max_skip_count: i64| TfIdfVectorizer {
            mode,
            pool: vec![2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
            counts: vec![0, 4],
            indexes: vec![0, 1, 2, 3, 4, 5, 6],
            weights: vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5],
            lengths,
            max_skip_count,
        };
        let x = || samples::integers(DType::I32, &[3, 12], 1, 2, 9);
        let line = || samples::integers(DType::I64, &[12], 2, 2, 9);
        vec![
            Case::new("counts", op(TfIdfMode::Tf, (1, 2), 0), vec![x()]),
            Case::new("pairs with skips", op(TfIdfMode::Tf, (2, 2), 5), vec![x()]),
            Case::new("weights", op(TfIdfMode::Idf, (1, 2), 1), vec![line()]),
            Case::new(
                "weighted counts",
                op(TfIdfMode::TfIdf, (1, 1), 2),
                vec![x()],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_at_every_distance() {
        let op = TfIdfVectorizer {
            mode: TfIdfMode::Tf,
            pool: vec![1, 1, 2],
            counts: vec![0, 1],
            indexes: vec![0, 1],
            weights: vec![],
            lengths: (1, 2),
            max_skip_count: 1,
        };
        let x = samples::ints(&[1, 2, 2]);
        let out = op
            .reference(Tensors::new("TfIdfVectorizer", &[Some(&x)]))
            .unwrap();
        assert_eq!(out[0].to_f64(), [1.0, 2.0]);
    }
}
