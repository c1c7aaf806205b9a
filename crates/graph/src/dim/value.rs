//! What an expression comes to: its value when symbols are bound, and bounds that hold before.

use super::{Atom, Bindings, Dim, Repr, Symbol, TOO_LONG};

impl Dim {
    /// True if the expression is at least 1 for all sizes that symbols can be (a sufficient test, not a necessary one).
    pub fn at_least_one(&self) -> bool {
        self.least().is_some_and(|n| n >= 1)
    }

    /// True if the expression is at least 0 for all sizes that symbols can be (a sufficient test, not a necessary one).
    pub fn at_least_zero(&self) -> bool {
        self.least().is_some_and(|n| n >= 0)
    }

    /// A number that the expression does not fall below, whatever the symbols are.
    fn least(&self) -> Option<i64> {
        let p = match &self.0 {
            Repr::Known(n) => return Some(*n),
            Repr::TooLong => return None,
            Repr::Expr(p) => p,
        };
        let mut sum = 0i64;
        for (atoms, c) in p.iter() {
            let mut product = *c;
            for atom in atoms {
                // A product of bounds is a bound only where nothing is negative.
                let least = atom.least().filter(|&n| n >= 0 && *c >= 0)?;
                product = product.saturating_mul(least);
            }
            sum = sum.saturating_add(product);
        }
        Some(sum)
    }

    /// The number under `bindings`, or the first symbol that has none.
    pub fn eval(&self, bindings: &Bindings) -> Result<i64, Symbol> {
        let p = match &self.0 {
            Repr::Known(n) => return Ok(*n),
            Repr::TooLong => return Err(Symbol::new(TOO_LONG)),
            Repr::Expr(p) => p,
        };
        let mut sum = 0i64;
        for (atoms, c) in p.iter() {
            let mut product = *c;
            for atom in atoms {
                product = product.saturating_mul(atom.eval(bindings)?);
            }
            sum = sum.saturating_add(product);
        }
        Ok(sum)
    }
}

impl Atom {
    /// See [`Dim::least`].
    fn least(&self) -> Option<i64> {
        match self {
            Atom::Symbol(s) => Some(s.least()),
            Atom::Div(a, b) => (a.at_least_zero() && b.at_least_one()).then_some(0),
            // The sign of the divisor.
            Atom::Mod(_, b) => b.at_least_one().then_some(0),
            Atom::Min(a, b) => Some(a.least()?.min(b.least()?)),
            Atom::Max(a, b) => match (a.least(), b.least()) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
        }
    }

    fn eval(&self, bindings: &Bindings) -> Result<i64, Symbol> {
        Ok(match self {
            Atom::Symbol(s) => return bindings.get(s).ok_or_else(|| s.clone()),
            Atom::Div(a, b) => match b.eval(bindings)? {
                0 => 0,
                b => floor_div(a.eval(bindings)?, b),
            },
            Atom::Mod(a, b) => match (a.eval(bindings)?, b.eval(bindings)?) {
                (_, 0) => 0,
                (a, b) => modulo(a, b),
            },
            Atom::Min(a, b) => a.eval(bindings)?.min(b.eval(bindings)?),
            Atom::Max(a, b) => a.eval(bindings)?.max(b.eval(bindings)?),
        })
    }
}

pub(super) fn floor_div(a: i64, b: i64) -> i64 {
    let q = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
        q - 1
    } else {
        q
    }
}

/// For `b` other than 0.
pub(super) fn modulo(a: i64, b: i64) -> i64 {
    a.wrapping_sub(floor_div(a, b).wrapping_mul(b))
}
