//! A core module, read: what it imports, defines and exports, and what each function uses.

use super::Obstacle;
use std::collections::HashMap;
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody, GlobalType,
    KnownCustom, MemoryType, Name, Operator, Parser, Payload, RefType, TableInit, TableType, TypeRef,
};

/// A core module.
#[derive(Default)]
pub(super) struct Module<'a> {
    pub(super) types: Vec<FuncType>,
    pub(super) imports: Vec<Import<'a>>,
    /// The type of each function, imported ones first.
    pub(super) function_types: Vec<u32>,
    /// The functions that are defined here.
    pub(super) bodies: Vec<Body<'a>>,
    pub(super) tables: Vec<TableType>,
    pub(super) memories: Vec<MemoryType>,
    pub(super) globals: Vec<(GlobalType, ConstExpr<'a>)>,
    pub(super) exports: HashMap<&'a str, (ExternalKind, u32)>,
    pub(super) elements: Vec<Elements<'a>>,
    pub(super) data: Vec<(ConstExpr<'a>, &'a [u8])>,
    /// The function that runs when it is instantiated.
    pub(super) start: Option<u32>,
    pub(super) function_names: HashMap<u32, &'a str>,
}

/// What a module wants from another.
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) ty: TypeRef,
}

/// Functions that a module puts into a table when it is instantiated; none is a null reference.
pub(super) struct Elements<'a> {
    pub(super) table: u32,
    pub(super) offset: ConstExpr<'a>,
    pub(super) functions: Vec<Option<u32>>,
}

/// A function that a module defines.
pub(super) struct Body<'a> {
    pub(super) code: FunctionBody<'a>,
    pub(super) uses: Uses,
}

/// What a function uses, by the numbers of its own module.
#[derive(Default)]
pub(super) struct Uses {
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<u32>,
    pub(super) globals: Vec<u32>,
    /// Globals that it sets.
    pub(super) set: Vec<u32>,
    /// Tables that it changes.
    pub(super) changed: Vec<u32>,
    /// What it has that is not understood.
    pub(super) unknown: Option<&'static str>,
    /// It does nothing, it only traps, or it only calls.
    pub(super) whole: Whole,
}

/// Functions that are known as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Whole {
    #[default]
    Other,
    Empty,
    Traps,
    /// Gives its parameters to the function in a slot of a table.
    Calls {
        ty: u32,
        table: u32,
        slot: Slot,
    },
}

/// A number of a slot of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot {
    Constant(u32),
    /// What a global has.
    Global(u32),
}

impl<'a> Module<'a> {
    /// Reads a module.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Obstacle> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        module.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import.ty {
                            module.function_types.push(ty);
                        }
                        module.imports.push(Import {
                            module: import.module,
                            name: import.name,
                            ty: import.ty,
                        });
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        module.function_types.push(ty?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let table = table?;
                        let TableInit::RefNull = table.init else {
                            return Err(Obstacle::Unknown("a table that begins with functions"));
                        };
                        module.tables.push(table.ty);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        module.memories.push(memory?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global?;
                        module.globals.push((global.ty, global.init_expr));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        module.exports.insert(export.name, (export.kind, export.index));
                    }
                }
                Payload::StartSection { func, .. } => module.start = Some(func),
                Payload::ElementSection(section) => {
                    for element in section {
                        module.elements.extend(elements(element?)?);
                    }
                }
                Payload::DataSection(section) => {
                    for data in section {
                        let data = data?;
                        match data.kind {
                            DataKind::Active { memory_index: 0, offset_expr } => {
                                module.data.push((offset_expr, data.data));
                            }
                            DataKind::Active { .. } => return Err(Obstacle::Unknown("a second memory")),
                            // A function that names it is not understood, so nothing is lost.
                            DataKind::Passive => {}
                        }
                    }
                }
                Payload::CodeSectionEntry(code) => {
                    let uses = Uses::of(&code)?;
                    module.bodies.push(Body { code, uses });
                }
                Payload::TagSection(_) => return Err(Obstacle::Unknown("exceptions")),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        module.read_names(names);
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }

    /// Names are for people; what is wrong with them is passed over.
    fn read_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for names in names.into_iter().flatten() {
            if let Name::Function(names) = names {
                self.function_names.extend(names.into_iter().flatten().map(|name| (name.index, name.name)));
            }
        }
    }

    /// Functions that are imported.
    pub(super) fn imported_functions(&self) -> usize {
        self.function_types.len().saturating_sub(self.bodies.len())
    }

    /// A function that is defined here.
    pub(super) fn body(&self, function: u32) -> Option<&Body<'a>> {
        self.bodies.get(usize::try_from(function).ok()?.checked_sub(self.imported_functions())?)
    }

    /// The type of a function.
    pub(super) fn function_type(&self, function: u32) -> Result<&FuncType, Obstacle> {
        let ty = self.function_types.get(super::index(function)).copied();
        ty.and_then(|ty| self.types.get(super::index(ty))).ok_or(Obstacle::Damaged)
    }
}

/// What an element segment puts into a table at once; none if it does not.
fn elements(element: wasmparser::Element<'_>) -> Result<Option<Elements<'_>>, Obstacle> {
    let ElementKind::Active { table_index, offset_expr } = element.kind else { return Ok(None) };
    let mut functions = Vec::new();
    match element.items {
        ElementItems::Functions(items) => {
            for item in items {
                functions.push(Some(item?));
            }
        }
        ElementItems::Expressions(RefType::FUNCREF, items) => {
            for item in items {
                let mut operators = item?.get_operators_reader();
                functions.push(match operators.read()? {
                    Operator::RefNull { .. } => None,
                    Operator::RefFunc { function_index } => Some(function_index),
                    _ => return Err(Obstacle::Unknown("a computed element of a table")),
                });
            }
        }
        ElementItems::Expressions(..) => {
            return Err(Obstacle::Unknown("a table of other things than functions"));
        }
    }
    Ok(Some(Elements { table: table_index.unwrap_or_default(), offset: offset_expr, functions }))
}

impl Uses {
    fn of(code: &FunctionBody<'_>) -> Result<Self, Obstacle> {
        let mut uses = Self::default();
        let mut first = Vec::new();
        for operator in code.get_operators_reader()? {
            let operator = operator?;
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    uses.functions.push(function_index);
                }
                Operator::CallIndirect { table_index, .. }
                | Operator::ReturnCallIndirect { table_index, .. } => {
                    uses.tables.push(table_index);
                }
                Operator::GlobalGet { global_index } => uses.globals.push(global_index),
                Operator::GlobalSet { global_index } => {
                    uses.globals.push(global_index);
                    uses.set.push(global_index);
                }
                Operator::TableGet { table } | Operator::TableSize { table } => uses.tables.push(table),
                Operator::TableSet { table }
                | Operator::TableGrow { table }
                | Operator::TableFill { table } => {
                    uses.tables.push(table);
                    uses.changed.push(table);
                }
                Operator::TableCopy { dst_table, src_table } => {
                    uses.tables.extend([dst_table, src_table]);
                    uses.changed.push(dst_table);
                }
                Operator::RefFunc { .. } => uses.unknown = Some("a function taken by reference"),
                Operator::TableInit { .. } | Operator::ElemDrop { .. } => {
                    uses.unknown = Some("code that fills tables");
                }
                Operator::MemoryInit { .. } | Operator::DataDrop { .. } => {
                    uses.unknown = Some("code that names data segments");
                }
                _ => {}
            }
            // The longest that is known as a whole: a call with this many parameters.
            if first.len() < 40 {
                first.push(operator);
            }
        }
        for list in [&mut uses.functions, &mut uses.tables, &mut uses.globals] {
            list.sort_unstable();
            list.dedup();
        }
        uses.whole = Whole::of(&first);
        Ok(uses)
    }
}

impl Whole {
    fn of(operators: &[Operator<'_>]) -> Self {
        match operators {
            [Operator::End] => Self::Empty,
            [Operator::Unreachable, Operator::End] => Self::Traps,
            [parameters @ .., slot, Operator::CallIndirect { type_index, table_index }, Operator::End] => {
                let in_order = parameters.iter().zip(0..).all(
                    |(operator, number)| matches!(operator, Operator::LocalGet { local_index } if *local_index == number),
                );
                let slot = match slot {
                    Operator::I32Const { value } => Slot::Constant(value.cast_unsigned()),
                    Operator::GlobalGet { global_index } => Slot::Global(*global_index),
                    _ => return Self::Other,
                };
                if in_order {
                    Self::Calls { ty: *type_index, table: *table_index, slot }
                } else {
                    Self::Other
                }
            }
            _ => Self::Other,
        }
    }
}
