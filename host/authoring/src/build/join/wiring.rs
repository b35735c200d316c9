//! What a component does when it is instantiated, followed without running it: which core instances it makes, in their order,
//! what each gets, and which core functions stand behind what it exports.

use super::{
    Obstacle, at,
    module::{Module, Whole},
};
use std::{collections::HashMap, rc::Rc};
use wasmparser::{
    CanonicalFunction, CanonicalOption, Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, ExternalKind, Instance,
    InstanceTypeDeclaration, Parser, Payload, TypeBounds,
};

/// Components within components that are looked into; tools make two or three.
const DEPTH_MAX: usize = 10;
/// Core instances that are followed; tools make about a hundred.
const INSTANCES_MAX: usize = 1_000;

/// A component, followed.
#[derive(Default)]
pub(super) struct Wiring<'a> {
    /// In the order in which they are made.
    pub(super) instances: Vec<CoreInstance<'a>>,
    /// Functions of interfaces that it exports: interface and name, and what stands behind.
    pub(super) exports: Vec<(String, String, Rc<Lifted<'a>>)>,
}

/// A core module with what it gets.
pub(super) struct CoreInstance<'a> {
    pub(super) module: Rc<Module<'a>>,
    pub(super) arguments: HashMap<&'a str, Source<'a>>,
}

/// Where a core module's imports of one name come from.
#[derive(Clone)]
pub(super) enum Source<'a> {
    /// The exports of a core instance.
    Instance(usize),
    /// Things put together under names.
    Bundle(Rc<HashMap<&'a str, CoreItem<'a>>>),
}

/// A core function, table, memory or global.
#[derive(Clone, PartialEq)]
pub(super) enum CoreItem<'a> {
    /// Of a core instance.
    Export { instance: usize, name: &'a str },
    /// A function of the host.
    Host(Rc<Host<'a>>),
    /// A function that always traps.
    Traps,
    /// A function that would make a resource. While nothing does, there are none, and what drops one traps.
    MakesResource,
}

/// A function of the host as core code calls it.
#[derive(PartialEq)]
pub(super) struct Host<'a> {
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
    pub(super) options: Options<'a>,
}

/// What the canonical ABI needs of a component.
#[derive(Default, Clone, PartialEq)]
pub(super) struct Options<'a> {
    pub(super) memory: Option<CoreItem<'a>>,
    pub(super) realloc: Option<CoreItem<'a>>,
    pub(super) post_return: Option<CoreItem<'a>>,
}

/// A core function that a component gives as one of its own.
pub(super) struct Lifted<'a> {
    pub(super) function: CoreItem<'a>,
    pub(super) options: Options<'a>,
}

/// What a component has under a name or number.
#[derive(Clone)]
enum Item<'a> {
    Host { interface: &'a str, name: &'a str },
    Lifted(Rc<Lifted<'a>>),
    HostInstance(&'a str),
    Instance(Rc<HashMap<&'a str, Item<'a>>>),
    Component(&'a [u8]),
    Type,
}

/// The numbered things of one component.
#[derive(Default)]
struct Scope<'a> {
    modules: Vec<Rc<Module<'a>>>,
    core_instances: Vec<Source<'a>>,
    core_functions: Vec<CoreItem<'a>>,
    core_tables: Vec<CoreItem<'a>>,
    core_memories: Vec<CoreItem<'a>>,
    core_globals: Vec<CoreItem<'a>>,
    functions: Vec<Item<'a>>,
    instances: Vec<Item<'a>>,
    components: Vec<Item<'a>>,
    exports: HashMap<&'a str, Item<'a>>,
}

impl<'a> Wiring<'a> {
    /// Follows a component, which is valid.
    pub(super) fn of(component: &'a [u8]) -> Result<Self, Obstacle> {
        let mut wiring = Self::default();
        let exports = wiring.instantiate(component, None, DEPTH_MAX)?;
        for (interface, item) in exports {
            // What tools export for themselves has a plain name.
            if !interface.contains(':') {
                continue;
            }
            let Item::Instance(functions) = item else {
                return Err(Obstacle::Unknown("an export that is no interface"));
            };
            for (name, item) in functions.iter() {
                match item {
                    Item::Lifted(lifted) => {
                        wiring.exports.push((interface.to_owned(), (*name).to_owned(), lifted.clone()));
                    }
                    Item::Type => {}
                    _ => {
                        return Err(Obstacle::Unknown(
                            "an exported interface of other things than functions",
                        ));
                    }
                }
            }
        }
        wiring.exports.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        Ok(wiring)
    }

    /// Follows one component; without arguments it is the outermost one.
    fn instantiate(
        &mut self,
        component: &'a [u8],
        arguments: Option<&HashMap<&'a str, Item<'a>>>,
        depth_left: usize,
    ) -> Result<HashMap<&'a str, Item<'a>>, Obstacle> {
        let depth_left =
            depth_left.checked_sub(1).ok_or(Obstacle::Unknown("components very deep within others"))?;
        let mut scope = Scope::default();
        let mut parser = Parser::new(0);
        let mut position = 0;
        while let Some(rest) = component.get(position..).filter(|rest| !rest.is_empty()) {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
                return Err(Obstacle::Damaged);
            };
            position = position.checked_add(consumed).ok_or(Obstacle::Damaged)?;
            match payload {
                Payload::ModuleSection { unchecked_range: range, .. } => {
                    let module = component.get(range.clone()).ok_or(Obstacle::Damaged)?;
                    scope.modules.push(Rc::new(Module::read(module)?));
                    position = range.end;
                }
                Payload::ComponentSection { unchecked_range: range, .. } => {
                    let nested = component.get(range.clone()).ok_or(Obstacle::Damaged)?;
                    scope.components.push(Item::Component(nested));
                    position = range.end;
                }
                Payload::InstanceSection(section) => {
                    for instance in section {
                        let source = self.core_instance(&scope, instance?)?;
                        scope.core_instances.push(source);
                    }
                }
                Payload::ComponentInstanceSection(section) => {
                    for instance in section {
                        let instance = self.instance(&scope, instance?, depth_left)?;
                        scope.instances.push(instance);
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        scope.alias(alias?)?;
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        self.canonical(&mut scope, function?)?;
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let import = import?;
                        let name = import.name.name;
                        let item = match (arguments, import.ty) {
                            (_, ComponentTypeRef::Type(_)) => Item::Type,
                            (Some(arguments), _) => arguments.get(name).cloned().ok_or(Obstacle::Damaged)?,
                            (None, ComponentTypeRef::Instance(_)) => Item::HostInstance(name),
                            (None, _) => return Err(Obstacle::Unknown("an import that is no interface")),
                        };
                        scope.add(import.ty.kind(), item)?;
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        let export = export?;
                        let item = scope.item(export.kind, export.index)?;
                        scope.exports.insert(export.name.name, item.clone());
                        // An export has a number of its own, too.
                        scope.add(export.kind, item)?;
                    }
                }
                Payload::ComponentTypeSection(section) if arguments.is_none() => {
                    for ty in section {
                        if has_resources(&ty?) {
                            return Err(Obstacle::Unknown("resources of the host"));
                        }
                    }
                }
                Payload::ComponentStartSection { .. } => {
                    return Err(Obstacle::Unknown("a component that starts by itself"));
                }
                _ => {}
            }
        }
        Ok(scope.exports)
    }

    fn core_instance(&mut self, scope: &Scope<'a>, instance: Instance<'a>) -> Result<Source<'a>, Obstacle> {
        match instance {
            Instance::Instantiate { module_index, args } => {
                if self.instances.len() >= INSTANCES_MAX {
                    return Err(Obstacle::Unknown("very many core instances"));
                }
                let module = at(&scope.modules, module_index)?;
                let mut arguments = HashMap::new();
                for argument in &args {
                    arguments.insert(argument.name, at(&scope.core_instances, argument.index)?);
                }
                self.instances.push(CoreInstance { module, arguments });
                Ok(Source::Instance(self.instances.len().saturating_sub(1)))
            }
            Instance::FromExports(exports) => {
                let mut bundle = HashMap::new();
                for export in &exports {
                    bundle.insert(export.name, at(scope.core(export.kind)?, export.index)?);
                }
                Ok(Source::Bundle(Rc::new(bundle)))
            }
        }
    }

    fn instance(
        &mut self,
        scope: &Scope<'a>,
        instance: ComponentInstance<'a>,
        depth_left: usize,
    ) -> Result<Item<'a>, Obstacle> {
        let exports = match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let Item::Component(component) = at(&scope.components, component_index)? else {
                    return Err(Obstacle::Unknown("a component that is imported"));
                };
                let mut arguments = HashMap::new();
                for argument in &args {
                    arguments.insert(argument.name, scope.item(argument.kind, argument.index)?);
                }
                self.instantiate(component, Some(&arguments), depth_left)?
            }
            ComponentInstance::FromExports(exports) => {
                let items = exports
                    .iter()
                    .map(|export| Ok((export.name.name, scope.item(export.kind, export.index)?)));
                items.collect::<Result<_, Obstacle>>()?
            }
        };
        Ok(Item::Instance(Rc::new(exports)))
    }

    fn canonical(&self, scope: &mut Scope<'a>, function: CanonicalFunction) -> Result<(), Obstacle> {
        match function {
            CanonicalFunction::Lift { core_func_index, options, .. } => {
                let function = at(&scope.core_functions, core_func_index)?;
                let options = scope.options(&options)?;
                scope.functions.push(Item::Lifted(Rc::new(Lifted { function, options })));
            }
            CanonicalFunction::Lower { func_index, options } => {
                let options = scope.options(&options)?;
                let lowered = match at(&scope.functions, func_index)? {
                    Item::Host { interface, name } => {
                        CoreItem::Host(Rc::new(Host { interface, name, options }))
                    }
                    Item::Lifted(lifted) if self.traps(&lifted.function) => CoreItem::Traps,
                    _ => return Err(Obstacle::Unknown("a component that calls another one")),
                };
                scope.core_functions.push(lowered);
            }
            CanonicalFunction::ResourceDrop { .. } => scope.core_functions.push(CoreItem::Traps),
            CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. } => {
                scope.core_functions.push(CoreItem::MakesResource);
            }
            _ => return Err(Obstacle::Unknown("threads or asynchronous calls")),
        }
        Ok(())
    }

    /// Whether a function does nothing but trap.
    fn traps(&self, function: &CoreItem<'a>) -> bool {
        match function {
            CoreItem::Traps => true,
            CoreItem::Export { instance, name } => self
                .instances
                .get(*instance)
                .and_then(|instance| match instance.module.exports.get(name) {
                    Some((ExternalKind::Func, function)) => instance.module.body(*function),
                    _ => None,
                })
                .is_some_and(|body| body.uses.whole == Whole::Traps),
            CoreItem::Host(_) | CoreItem::MakesResource => false,
        }
    }
}

impl<'a> Scope<'a> {
    fn core(&self, kind: ExternalKind) -> Result<&Vec<CoreItem<'a>>, Obstacle> {
        match kind {
            ExternalKind::Func | ExternalKind::FuncExact => Ok(&self.core_functions),
            ExternalKind::Table => Ok(&self.core_tables),
            ExternalKind::Memory => Ok(&self.core_memories),
            ExternalKind::Global => Ok(&self.core_globals),
            ExternalKind::Tag => Err(Obstacle::Unknown("exceptions")),
        }
    }

    fn alias(&mut self, alias: ComponentAlias<'a>) -> Result<(), Obstacle> {
        match alias {
            ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                let item = match at(&self.core_instances, instance_index)? {
                    Source::Instance(instance) => CoreItem::Export { instance, name },
                    Source::Bundle(bundle) => bundle.get(name).cloned().ok_or(Obstacle::Damaged)?,
                };
                match kind {
                    ExternalKind::Func | ExternalKind::FuncExact => self.core_functions.push(item),
                    ExternalKind::Table => self.core_tables.push(item),
                    ExternalKind::Memory => self.core_memories.push(item),
                    ExternalKind::Global => self.core_globals.push(item),
                    ExternalKind::Tag => return Err(Obstacle::Unknown("exceptions")),
                }
                Ok(())
            }
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                let item = match at(&self.instances, instance_index)? {
                    _ if kind == ComponentExternalKind::Type => Item::Type,
                    Item::HostInstance(interface) if kind == ComponentExternalKind::Func => {
                        Item::Host { interface, name }
                    }
                    Item::Instance(items) => items.get(name).cloned().ok_or(Obstacle::Damaged)?,
                    _ => return Err(Obstacle::Unknown("an interface within an interface")),
                };
                self.add(kind, item)
            }
            ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Type | ComponentOuterAliasKind::CoreType,
                ..
            } => Ok(()),
            ComponentAlias::Outer { .. } => {
                Err(Obstacle::Unknown("a component that takes modules of the one around it"))
            }
        }
    }

    fn options(&self, options: &[CanonicalOption]) -> Result<Options<'a>, Obstacle> {
        let mut known = Options::default();
        for option in options {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(number) => known.memory = Some(at(&self.core_memories, *number)?),
                CanonicalOption::Realloc(number) => known.realloc = Some(at(&self.core_functions, *number)?),
                CanonicalOption::PostReturn(number) => {
                    known.post_return = Some(at(&self.core_functions, *number)?);
                }
                _ => return Err(Obstacle::Unknown("texts that are not UTF-8, or asynchronous calls")),
            }
        }
        Ok(known)
    }

    fn item(&self, kind: ComponentExternalKind, number: u32) -> Result<Item<'a>, Obstacle> {
        match kind {
            ComponentExternalKind::Func => at(&self.functions, number),
            ComponentExternalKind::Instance => at(&self.instances, number),
            ComponentExternalKind::Component => at(&self.components, number),
            ComponentExternalKind::Type => Ok(Item::Type),
            ComponentExternalKind::Module | ComponentExternalKind::Value => {
                Err(Obstacle::Unknown("modules or values that are handed around"))
            }
        }
    }

    fn add(&mut self, kind: ComponentExternalKind, item: Item<'a>) -> Result<(), Obstacle> {
        match kind {
            ComponentExternalKind::Func => self.functions.push(item),
            ComponentExternalKind::Instance => self.instances.push(item),
            ComponentExternalKind::Component => self.components.push(item),
            ComponentExternalKind::Type => {}
            ComponentExternalKind::Module | ComponentExternalKind::Value => {
                return Err(Obstacle::Unknown("modules or values that are handed around"));
            }
        }
        Ok(())
    }
}

/// Whether an interface of the outermost component has a resource.
fn has_resources(ty: &ComponentType<'_>) -> bool {
    match ty {
        ComponentType::Instance(declarations) => declarations.iter().any(|declaration| match declaration {
            InstanceTypeDeclaration::Export { ty, .. } => {
                matches!(ty, ComponentTypeRef::Type(TypeBounds::SubResource))
            }
            InstanceTypeDeclaration::Type(ty) => has_resources(ty),
            InstanceTypeDeclaration::CoreType(_) | InstanceTypeDeclaration::Alias(_) => false,
        }),
        _ => false,
    }
}
