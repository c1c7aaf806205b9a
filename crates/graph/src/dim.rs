//! Symbolic sizes: integer polynomials over named symbols and over floor-div, mod, min and max of such polynomials.
//!
//! A `Dim` is kept in a canonical form (sorted terms, no zero coefficients), so equal sizes compare equal without knowing
//! the symbols. Symbols stand for sizes, therefore they are taken to be at least 1, or at least 0 where they are made by
//! [`Symbol::maybe_empty`]: `n[1:]` has then max(n-1, 0) elements instead of n-1.
//! Arithmetic saturates at the bounds of `i64`; a size that big is refused where memory is asked for. An expression of
//! more than `MAX_ATOMS` atoms is not followed: it stays unknown, and so does everything that is made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

mod symbol;
mod value;

pub use symbol::{Bindings, Symbol};
use value::{floor_div, modulo};

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Dim {
        Dim::atom(Atom::Symbol(symbol))
    }
}

/// A size: a number or an expression over symbols.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    Expr(Arc<Poly>),
    TooLong,
}

/// Sizes of real models have a handful of atoms; products of sums would have any number.
const MAX_ATOMS: usize = 256;

const TOO_LONG: &str = "(too long an expression)";

/// Sum of coefficient times product of atoms; the empty product is the constant term.
type Poly = Vec<(Vec<Atom>, i64)>;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Symbol),
    Div(Dim, Dim),
    Mod(Dim, Dim),
    Min(Dim, Dim),
    Max(Dim, Dim),
}

impl From<i64> for Dim {
    fn from(n: i64) -> Dim {
        Dim(Repr::Known(n))
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim(Repr::Known(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

impl Dim {
    /// An unknown size.
    pub fn symbol(name: &str) -> Dim {
        Symbol::new(name).into()
    }

    /// The number, if no symbol is left in it.
    pub fn known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(n) => Some(n),
            Repr::Expr(_) | Repr::TooLong => None,
        }
    }

    /// True for a plain symbol; gives it.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match &self.0 {
            Repr::Expr(p) => match &p[..] {
                [(atoms, 1)] => match &atoms[..] {
                    [Atom::Symbol(s)] => Some(s),
                    _ => None,
                },
                _ => None,
            },
            Repr::Known(_) | Repr::TooLong => None,
        }
    }

    fn atom(a: Atom) -> Dim {
        Dim::of_poly(vec![(vec![a], 1)])
    }

    fn of_poly(poly: Poly) -> Dim {
        if atoms_of(&poly) > MAX_ATOMS {
            return Dim(Repr::TooLong);
        }
        Dim(Repr::Expr(Arc::new(poly)))
    }

    fn is_too_long(&self) -> bool {
        matches!(self.0, Repr::TooLong)
    }

    /// Terms and atoms, those within atoms included.
    fn atoms(&self) -> usize {
        match &self.0 {
            Repr::Known(_) => 0,
            Repr::Expr(p) => atoms_of(p),
            Repr::TooLong => MAX_ATOMS,
        }
    }

    fn terms(&self) -> Poly {
        match &self.0 {
            Repr::Known(0) | Repr::TooLong => vec![],
            Repr::Known(n) => vec![(vec![], *n)],
            Repr::Expr(p) => p.to_vec(),
        }
    }

    fn from_terms(terms: impl IntoIterator<Item = (Vec<Atom>, i64)>) -> Dim {
        let mut sum: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (atoms, c) in terms {
            let entry = sum.entry(atoms).or_insert(0);
            *entry = entry.saturating_add(c);
        }
        let poly: Poly = sum.into_iter().filter(|(_, c)| *c != 0).collect();
        match &poly[..] {
            [] => 0i64.into(),
            [(atoms, c)] if atoms.is_empty() => (*c).into(),
            _ => Dim::of_poly(poly),
        }
    }

    /// `self / by`, rounded down. Division by a known zero gives 0 (ONNX leaves it undefined).
    pub fn floor_div(&self, by: &Dim) -> Dim {
        if self.is_too_long() || by.is_too_long() {
            return Dim(Repr::TooLong);
        }
        if let (Some(a), Some(b)) = (self.known(), by.known()) {
            return if b == 0 { 0 } else { floor_div(a, b) }.into();
        }
        if by.known() == Some(1) {
            return self.clone();
        }
        if self == by {
            return 1i64.into();
        }
        self.exact_div(by)
            .unwrap_or_else(|| Dim::atom(Atom::Div(self.clone(), by.clone())))
    }

    /// `ceil(self / by)` for a positive `by`.
    pub fn ceil_div(&self, by: &Dim) -> Dim {
        (self.clone() + by.clone() - 1i64.into()).floor_div(by)
    }

    /// Every term of `self` divided by the single term `by`, if each contains it.
    fn exact_div(&self, by: &Dim) -> Option<Dim> {
        let divisor = by.terms();
        let [(atoms, c)] = &divisor[..] else {
            return None;
        };
        let mut out = Vec::new();
        for (have, coefficient) in self.terms() {
            if coefficient.checked_rem(*c) != Some(0) {
                return None;
            }
            let mut rest = have;
            for atom in atoms {
                let at = rest.iter().position(|a| a == atom)?;
                rest.remove(at);
            }
            out.push((rest, coefficient / c));
        }
        Some(Dim::from_terms(out))
    }

    /// `self` modulo `by`, with the sign of `by` (Python's rule).
    pub fn modulo(&self, by: &Dim) -> Dim {
        if self.is_too_long() || by.is_too_long() {
            return Dim(Repr::TooLong);
        }
        match (self.known(), by.known()) {
            (Some(_), Some(0)) => 0i64.into(),
            (Some(a), Some(b)) => modulo(a, b).into(),
            (_, Some(1)) => 0i64.into(),
            _ if self.exact_div(by).is_some() => 0i64.into(),
            _ => Dim::atom(Atom::Mod(self.clone(), by.clone())),
        }
    }

    /// The smaller of two sizes.
    pub fn smaller(&self, other: &Dim) -> Dim {
        self.pick(other, |a, b| a.min(b), Atom::Min)
    }

    /// The larger of two sizes.
    pub fn larger(&self, other: &Dim) -> Dim {
        self.pick(other, |a, b| a.max(b), Atom::Max)
    }

    fn pick(&self, other: &Dim, f: fn(i64, i64) -> i64, atom: fn(Dim, Dim) -> Atom) -> Dim {
        if self.is_too_long() || other.is_too_long() {
            return Dim(Repr::TooLong);
        }
        if self == other {
            return self.clone();
        }
        let difference = self.clone() - other.clone();
        if let Some(d) = difference.known() {
            return if f(d, 0) == d {
                self.clone()
            } else {
                other.clone()
            };
        }
        // A difference that cannot be negative settles the comparison.
        let one = Dim::from(1i64);
        if (difference.clone() + one.clone()).at_least_one() {
            return if f(1, 0) == 1 { self } else { other }.clone();
        }
        if (one - difference).at_least_one() {
            return if f(1, 0) == 1 { other } else { self }.clone();
        }
        let (a, b) = if self <= other {
            (self, other)
        } else {
            (other, self)
        };
        Dim::atom(atom(a.clone(), b.clone()))
    }

    /// Replaces bound symbols by their values.
    pub fn bind(&self, bindings: &Bindings) -> Dim {
        match self.eval(bindings) {
            Ok(n) => n.into(),
            Err(_) => self.clone(),
        }
    }

    /// Appends every symbol of the expression to `out` (with repetitions).
    pub fn symbols(&self, out: &mut Vec<Symbol>) {
        if let Repr::Expr(p) = &self.0 {
            for atom in p.iter().flat_map(|(atoms, _)| atoms) {
                match atom {
                    Atom::Symbol(s) => out.push(s.clone()),
                    Atom::Div(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                        a.symbols(out);
                        b.symbols(out);
                    }
                }
            }
        }
    }
}

/// See [`Dim::atoms`].
fn atoms_of(poly: &Poly) -> usize {
    let atom = |a: &Atom| match a {
        Atom::Symbol(_) => 1,
        Atom::Div(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
            1 + a.atoms() + b.atoms()
        }
    };
    let term = |(atoms, _): &(Vec<Atom>, i64)| 1 + atoms.iter().map(atom).sum::<usize>();
    poly.iter().map(term).sum()
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        match (self.known(), other.known()) {
            (Some(a), Some(b)) => a.saturating_add(b).into(),
            _ if self.is_too_long() || other.is_too_long() => Dim(Repr::TooLong),
            _ => Dim::from_terms(self.terms().into_iter().chain(other.terms())),
        }
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::from(-1i64)
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.known(), other.known()) {
            return a.saturating_mul(b).into();
        }
        if self.is_too_long() || other.is_too_long() {
            return Dim(Repr::TooLong);
        }
        let right = other.terms();
        Dim::from_terms(self.terms().into_iter().flat_map(|(a, c)| {
            right
                .iter()
                .map(|(b, d)| {
                    let mut atoms = [a.clone(), b.clone()].concat();
                    atoms.sort();
                    (atoms, c.saturating_mul(*d))
                })
                .collect::<Vec<_>>()
        }))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = match &self.0 {
            Repr::Known(n) => return write!(f, "{n}"),
            Repr::TooLong => return f.write_str(TOO_LONG),
            Repr::Expr(p) => p,
        };
        for (i, (atoms, c)) in p.iter().rev().enumerate() {
            let sign = if *c < 0 { "-" } else { "+" };
            if i > 0 || *c < 0 {
                f.write_str(sign)?;
            }
            let c = c.unsigned_abs();
            if c != 1 || atoms.is_empty() {
                write!(f, "{c}")?;
            }
            for (j, atom) in atoms.iter().enumerate() {
                if j > 0 || c != 1 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(s) => f.write_str(s.name()),
            Atom::Div(a, b) => write!(f, "(({a})/({b}))"),
            Atom::Mod(a, b) => write!(f, "(({a})%({b}))"),
            Atom::Min(a, b) => write!(f, "min({a},{b})"),
            Atom::Max(a, b) => write!(f, "max({a},{b})"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_forms_are_equal() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let total = b.clone() * 12i64.into() * s.clone() * 64i64.into();
        assert_eq!(total.floor_div(&(b.clone() * s.clone())), 768i64.into());
        assert_eq!((s.clone() + 1i64.into()) - s.clone(), 1i64.into());
        assert_eq!((s.clone() * 2i64.into()).modulo(&s), 0i64.into());
        assert_eq!(s.larger(&1i64.into()), s);
        assert_eq!((b * 2i64.into() - 3i64.into()).to_string(), "2*b-3");
    }

    #[test]
    fn evaluation_agrees_with_arithmetic() {
        let (a, b) = (Dim::symbol("a"), Dim::symbol("b"));
        let n = |n: i64| Dim::from(n);
        type Expected = fn(i64, i64) -> i64;
        let table: [(Dim, Expected); 6] = [
            (a.clone() + b.clone() * n(3), |a, b| a + 3 * b),
            ((a.clone() - n(7)).floor_div(&n(2)), |a, _| {
                (a - 7).div_euclid(2)
            }),
            ((a.clone() * b.clone() + a.clone()).floor_div(&a), |_, b| {
                b + 1
            }),
            ((a.clone() + b.clone()).modulo(&n(5)), |a, b| (a + b) % 5),
            (a.smaller(&b).larger(&n(4)), |a, b| a.min(b).max(4)),
            (a.ceil_div(&n(3)), |a, _| (a + 2) / 3),
        ];
        proptest!(|(x in 1i64..1000, y in 1i64..1000)| {
            let mut bindings = Bindings::default();
            bindings.set(Symbol::new("a"), x);
            bindings.set(Symbol::new("b"), y);
            for (e, f) in &table {
                prop_assert_eq!(e.eval(&bindings), Ok(f(x, y)), "{}", e);
            }
        });
    }

    #[test]
    fn bounds_hold_for_all_sizes() {
        let (a, b) = (Dim::symbol("a"), Dim::symbol("b"));
        let n = |n: i64| Dim::from(n);
        assert!((a.clone() * b.clone()).at_least_one());
        assert!(!(a.clone() - n(1)).at_least_one() && (a.clone() - n(1)).at_least_zero());
        let half = a.floor_div(&n(2));
        assert!(half.at_least_zero() && !half.at_least_one() && (half + n(1)).at_least_one());
        assert!((a.clone() - n(9)).modulo(&b).at_least_zero());
        assert!(!(a.clone() - b.clone()).at_least_zero());
        assert!(a.larger(&b).at_least_one() && a.smaller(&b).at_least_one());
    }

    #[test]
    fn huge_sizes_saturate() {
        let huge = Dim::from(i64::MAX) * Dim::from(2i64);
        assert_eq!(huge.known(), Some(i64::MAX));
        assert_eq!(
            Dim::from(i64::MIN).floor_div(&Dim::from(-1i64)).known(),
            Some(i64::MIN)
        );
    }

    #[test]
    fn long_expressions_are_not_followed() {
        let (a, b) = (Dim::symbol("a"), Dim::symbol("b"));
        let (mut sum, mut halves) = (a.clone(), a.clone());
        for _ in 0..1000 {
            sum = sum.clone() * sum + b.clone();
            halves = (halves + b.clone()).floor_div(&2i64.into());
        }
        let mut bindings = Bindings::default();
        bindings.set(Symbol::new("a"), 1);
        bindings.set(Symbol::new("b"), 1);
        for long in [sum, halves] {
            assert_eq!(long.eval(&bindings), Err(Symbol::new(TOO_LONG)));
            // Not even what would cancel out.
            assert_eq!((long.clone() - long.clone()).known(), None);
            assert_eq!(long.floor_div(&long).known(), None);
            assert_eq!((long.clone() * 0i64.into()).known(), None);
            assert_eq!(long.larger(&long).known(), None);
        }
    }

    #[test]
    fn an_unbound_symbol_is_named() {
        assert_eq!(
            (Dim::symbol("n") + 1i64.into()).eval(&Bindings::default()),
            Err(Symbol::new("n"))
        );
    }
}
