//! Vectors of four words in storage, read and written as two words of 64 bits.
//!
//! Software adapters load and store lane by lane and word by word, whatever the size of a word (docs/kernels.md), so this halves
//! what a vec4 costs there. It works on the parsed module: an array whose elements are only ever read or written whole is declared
//! as words, and two functions a binding take the place of its accesses. Memory holds the same bits before and after.

use wgpu::naga::{
    AddressSpace, Arena, ArraySize, BinaryOperator, Block, Expression, Function, FunctionArgument,
    FunctionResult, GlobalVariable, Handle, Literal, Module, Range, Scalar, ScalarKind, Span,
    Statement, StorageAccess, Type, TypeInner, VectorSize, front::wgsl,
};

type Expr = Handle<Expression>;

/// The module that software adapters with integers of 64 bits get for an assembled text: storage arrays of vec4 of 32 bits as words, where
/// their elements are only read and written whole. None where there are no such arrays, or the text does not parse.
#[must_use]
pub fn as_words(text: &str) -> Option<Module> {
    let mut module = wgsl::parse_str(text).ok()?;
    let arrays = arrays(&module);
    if arrays.is_empty() {
        return None;
    }
    // Functions come before those that call them.
    let old = std::mem::take(&mut module.functions);
    let mut accesses = Vec::new();
    for (global, scalar) in arrays {
        accesses.push(Access::declare(&mut module, global, scalar));
    }
    let mut moved: Vec<Handle<Function>> = Vec::new();
    for mut function in old.into_inner() {
        rewrite(&mut function, &accesses, &moved);
        moved.push(module.functions.append(function, Span::UNDEFINED));
    }
    let mut entries = std::mem::take(&mut module.entry_points);
    for entry in &mut entries {
        rewrite(&mut entry.function, &accesses, &moved);
    }
    module.entry_points = entries;
    Some(module)
}

/// Storage arrays of vec4 of 32 bits whose elements are only read and written whole.
fn arrays(module: &Module) -> Vec<(Handle<GlobalVariable>, Scalar)> {
    let functions = module.functions.iter().map(|(_, function)| function);
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    let all: Vec<&Function> = functions.chain(entries).collect();
    let globals = module.global_variables.iter();
    globals
        .filter_map(|(handle, global)| Some((handle, vec4_of(module, global)?)))
        .filter(|(handle, _)| all.iter().all(|function| is_whole(function, *handle)))
        .collect()
}

fn vec4_of(module: &Module, global: &GlobalVariable) -> Option<Scalar> {
    let AddressSpace::Storage { .. } = global.space else {
        return None;
    };
    let TypeInner::Array {
        base,
        size: ArraySize::Dynamic,
        ..
    } = module.types[global.ty].inner
    else {
        return None;
    };
    match module.types[base].inner {
        TypeInner::Vector {
            size: VectorSize::Quad,
            scalar,
        } if scalar.width == 4 => Some(scalar),
        _ => None,
    }
}

/// The elements of a global that a function points to.
fn elements(function: &Function, global: Handle<GlobalVariable>) -> Vec<Expr> {
    let is = |base: Expr| matches!(function.expressions[base], Expression::GlobalVariable(of) if of == global);
    let all = function.expressions.iter();
    all.filter(|(_, of)| match of {
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => is(*base),
        _ => false,
    })
    .map(|(handle, _)| handle)
    .collect()
}

/// Whether a function only ever loads or stores whole elements of a global, or asks for its length.
fn is_whole(function: &Function, global: Handle<GlobalVariable>) -> bool {
    let elements = elements(function, global);
    let parts = function.expressions.iter().any(|(_, of)| match of {
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
            elements.contains(base)
        }
        Expression::CooperativeLoad { data, .. } => elements.contains(&data.pointer),
        _ => false,
    });
    let is = |of: Expr| {
        elements.contains(&of)
            || matches!(function.expressions[of], Expression::GlobalVariable(of) if of == global)
    };
    !parts && !passes(&function.body, &is)
}

/// Whether a pointer leaves a block other than by a load or a store.
fn passes(block: &Block, is: &impl Fn(Expr) -> bool) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Call { arguments, .. } => arguments.iter().any(|&of| is(of)),
        Statement::Atomic { pointer, .. } | Statement::WorkGroupUniformLoad { pointer, .. } => {
            is(*pointer)
        }
        Statement::CooperativeStore { data, .. } => is(data.pointer),
        _ => inner(statement).into_iter().any(|block| passes(block, is)),
    })
}

/// The blocks of a statement.
fn inner(statement: &Statement) -> Vec<&Block> {
    match statement {
        Statement::Block(block) => vec![block],
        Statement::If { accept, reject, .. } => vec![accept, reject],
        Statement::Switch { cases, .. } => cases.iter().map(|case| &case.body).collect(),
        Statement::Loop {
            body, continuing, ..
        } => vec![body, continuing],
        _ => vec![],
    }
}

/// The functions that read and write the elements of an array.
struct Access {
    global: Handle<GlobalVariable>,
    load: Handle<Function>,
    /// Of arrays that may be written.
    store: Option<Handle<Function>>,
}

/// Types of a module.
struct Types {
    index: Handle<Type>,
    value: Handle<Type>,
    bits: Handle<Type>,
    words: Handle<Type>,
}

impl Access {
    fn declare(module: &mut Module, global: Handle<GlobalVariable>, scalar: Scalar) -> Self {
        let mut ty = |inner| {
            module
                .types
                .insert(Type { name: None, inner }, Span::UNDEFINED)
        };
        let vector = |size, scalar| TypeInner::Vector { size, scalar };
        let types = Types {
            index: ty(TypeInner::Scalar(Scalar::U32)),
            value: ty(vector(VectorSize::Quad, scalar)),
            bits: ty(vector(VectorSize::Quad, Scalar::U32)),
            words: ty(vector(VectorSize::Bi, Scalar::U64)),
        };
        let array = ty(TypeInner::Array {
            base: types.words,
            size: ArraySize::Dynamic,
            stride: 16,
        });
        let variable = module.global_variables.get_mut(global);
        variable.ty = array;
        let writes = match variable.space {
            AddressSpace::Storage { access } => access.contains(StorageAccess::STORE),
            _ => false,
        };
        let load = load(global, &types, scalar.kind);
        let load = module.functions.append(load, Span::UNDEFINED);
        let store = writes.then(|| {
            let store = store(global, &types);
            module.functions.append(store, Span::UNDEFINED)
        });
        Self {
            global,
            load,
            store,
        }
    }
}

/// A function under construction: what is pushed after `first` is emitted.
#[derive(Default)]
struct Text {
    expressions: Arena<Expression>,
    first: usize,
}

impl Text {
    fn push(&mut self, expression: Expression) -> Expr {
        self.expressions.append(expression, Span::UNDEFINED)
    }

    /// What is pushed from here on is emitted.
    fn begin(&mut self) {
        self.first = self.expressions.len();
    }

    fn cast(&mut self, expr: Expr, kind: ScalarKind, convert: Option<u8>) -> Expr {
        self.push(Expression::As {
            expr,
            kind,
            convert,
        })
    }

    fn component(&mut self, base: Expr, index: u32) -> Expr {
        self.push(Expression::AccessIndex { base, index })
    }

    fn binary(&mut self, op: BinaryOperator, left: Expr, right: Expr) -> Expr {
        self.push(Expression::Binary { op, left, right })
    }

    fn emitted(&self) -> Statement {
        Statement::Emit(self.expressions.range_from(self.first))
    }
}

fn argument(name: &str, ty: Handle<Type>) -> FunctionArgument {
    let name = Some(name.into());
    FunctionArgument {
        name,
        ty,
        binding: None,
    }
}

/// `fn load(at: u32) -> vec4<T>`: both halves of both words.
fn load(global: Handle<GlobalVariable>, types: &Types, kind: ScalarKind) -> Function {
    let mut text = Text::default();
    let index = text.push(Expression::FunctionArgument(0));
    let base = text.push(Expression::GlobalVariable(global));
    let half = text.push(Expression::Literal(Literal::U32(32)));
    text.begin();
    let pointer = text.push(Expression::Access { base, index });
    let words = text.push(Expression::Load { pointer });
    let mut components = vec![];
    for i in 0..2 {
        let word = text.component(words, i);
        components.push(text.cast(word, ScalarKind::Uint, Some(4)));
        let high = text.binary(BinaryOperator::ShiftRight, word, half);
        components.push(text.cast(high, ScalarKind::Uint, Some(4)));
    }
    let ty = types.bits;
    let mut value = text.push(Expression::Compose { ty, components });
    if kind != ScalarKind::Uint {
        value = text.cast(value, kind, None);
    }
    let body = vec![text.emitted(), Statement::Return { value: Some(value) }];
    Function {
        name: Some("load_words".into()),
        arguments: vec![argument("at", types.index)],
        result: Some(FunctionResult {
            ty: types.value,
            binding: None,
        }),
        expressions: text.expressions,
        body: Block::from_vec(body),
        ..Function::default()
    }
}

/// `fn store(at: u32, v: vec4<T>)`.
fn store(global: Handle<GlobalVariable>, types: &Types) -> Function {
    let mut text = Text::default();
    let index = text.push(Expression::FunctionArgument(0));
    let value = text.push(Expression::FunctionArgument(1));
    let base = text.push(Expression::GlobalVariable(global));
    let half = text.push(Expression::Literal(Literal::U32(32)));
    text.begin();
    let bits = match types.value == types.bits {
        true => value,
        false => text.cast(value, ScalarKind::Uint, None),
    };
    let mut components = vec![];
    for i in [0, 2] {
        let [low, high] = [i, i + 1].map(|i| {
            let part = text.component(bits, i);
            text.cast(part, ScalarKind::Uint, Some(8))
        });
        let high = text.binary(BinaryOperator::ShiftLeft, high, half);
        components.push(text.binary(BinaryOperator::InclusiveOr, low, high));
    }
    let ty = types.words;
    let words = text.push(Expression::Compose { ty, components });
    let pointer = text.push(Expression::Access { base, index });
    let put = Statement::Store {
        pointer,
        value: words,
    };
    Function {
        name: Some("store_words".into()),
        arguments: vec![argument("at", types.index), argument("v", types.value)],
        body: Block::from_vec(vec![text.emitted(), put]),
        expressions: text.expressions,
        ..Function::default()
    }
}

/// What stands in the place of an expression.
#[derive(Clone, Copy)]
enum Instead<'a> {
    /// An element's number: it is emitted as before, or was known all along.
    Index { of: &'a Access, known: bool },
    /// A load, which is a call now.
    Call { of: &'a Access, at: Expr },
}

/// Calls the functions of the accesses where a function reads or writes elements, and its own callees where they are now: those
/// before it are in `moved`.
fn rewrite(function: &mut Function, accesses: &[Access], moved: &[Handle<Function>]) {
    let mut instead: Vec<Option<Instead<'_>>> = vec![None; function.expressions.len()];
    for of in accesses {
        for element in elements(function, of.global) {
            let known = matches!(
                function.expressions[element],
                Expression::AccessIndex { .. }
            );
            instead[element.index()] = Some(Instead::Index { of, known });
        }
    }
    for (handle, expression) in function.expressions.iter() {
        if let Expression::Load { pointer } = *expression
            && let Some(Instead::Index { of, .. }) = instead[pointer.index()]
        {
            instead[handle.index()] = Some(Instead::Call { of, at: pointer });
        }
    }
    for (handle, expression) in function.expressions.iter_mut() {
        *expression = match (instead[handle.index()], &*expression) {
            (Some(Instead::Index { .. }), Expression::Access { index, .. }) => Expression::As {
                expr: *index,
                kind: ScalarKind::Uint,
                convert: Some(4),
            },
            (Some(Instead::Index { .. }), Expression::AccessIndex { index, .. }) => {
                Expression::Literal(Literal::U32(*index))
            }
            (Some(Instead::Call { of, .. }), _) => Expression::CallResult(of.load),
            (None, Expression::CallResult(of)) => Expression::CallResult(moved[of.index()]),
            _ => continue,
        };
    }
    let body = std::mem::take(&mut function.body);
    function.body = rewritten(body, &function.expressions, &instead, moved);
}

fn rewritten(
    block: Block,
    expressions: &Arena<Expression>,
    instead: &[Option<Instead<'_>>],
    moved: &[Handle<Function>],
) -> Block {
    let mut out = Block::new();
    let again = |block| rewritten(block, expressions, instead, moved);
    for (statement, span) in block.span_into_iter() {
        let statement = match statement {
            Statement::Emit(range) => {
                emit(range, expressions, instead, &mut out);
                continue;
            }
            Statement::Store { pointer, value } => stored(pointer, value, instead),
            Statement::Call {
                function,
                arguments,
                result,
            } => Statement::Call {
                function: moved[function.index()],
                arguments,
                result,
            },
            other => with_blocks(other, again),
        };
        out.push(statement, span);
    }
    out
}

/// A store, which is a call where it goes to an element.
fn stored(pointer: Expr, value: Expr, instead: &[Option<Instead<'_>>]) -> Statement {
    match instead[pointer.index()] {
        Some(Instead::Index {
            of: Access {
                store: Some(function),
                ..
            },
            ..
        }) => Statement::Call {
            function: *function,
            arguments: vec![pointer, value],
            result: None,
        },
        _ => Statement::Store { pointer, value },
    }
}

/// A statement with the blocks in it rewritten.
fn with_blocks(statement: Statement, again: impl Fn(Block) -> Block) -> Statement {
    match statement {
        Statement::Block(block) => Statement::Block(again(block)),
        Statement::If {
            condition,
            accept,
            reject,
        } => Statement::If {
            condition,
            accept: again(accept),
            reject: again(reject),
        },
        Statement::Switch {
            selector,
            mut cases,
        } => {
            for case in &mut cases {
                case.body = again(std::mem::take(&mut case.body));
            }
            Statement::Switch { selector, cases }
        }
        Statement::Loop {
            body,
            continuing,
            break_if,
        } => Statement::Loop {
            body: again(body),
            continuing: again(continuing),
            break_if,
        },
        other => other,
    }
}

/// Emits a range piece by piece: loads are calls between the pieces, and what is known is not emitted.
fn emit(
    range: Range<Expression>,
    expressions: &Arena<Expression>,
    instead: &[Option<Instead<'_>>],
    out: &mut Block,
) {
    let mut piece = range.index_range().start..range.index_range().start;
    for handle in range {
        let at = handle.index() as u32;
        match instead[handle.index()] {
            None | Some(Instead::Index { known: false, .. }) => {
                piece.end = at + 1;
                continue;
            }
            Some(of) => {
                flush(piece, expressions, out);
                if let Instead::Call { of, at } = of {
                    let call = Statement::Call {
                        function: of.load,
                        arguments: vec![at],
                        result: Some(handle),
                    };
                    out.push(call, Span::UNDEFINED);
                }
            }
        }
        piece = at + 1..at + 1;
    }
    flush(piece, expressions, out);
}

fn flush(piece: std::ops::Range<u32>, expressions: &Arena<Expression>, out: &mut Block) {
    if !piece.is_empty() {
        let range = Range::from_index_range(piece, expressions);
        out.push(Statement::Emit(range), Span::UNDEFINED);
    }
}

#[cfg(test)]
mod tests;
