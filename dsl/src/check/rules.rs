//! The rules that tie the values of a model together, and the model that passes them.

use crate::ast::ModelDecl;
use crate::diagnostic::{Code, Problem, Span};
use crate::model::{Activations, Block, Group, KvStorage, Model, Sharing, Storage, TensorStorage};
use crate::number::grouped;
use crate::suggest::{divisors, join, join_numbers, nearest};

use super::draft::{Draft, SharingDraft, Slot};
use super::missing::missing;
use super::vocabulary as words;

/// Checks a draft with everything inherited; `None` where it is no model.
///
/// A derived model answers only for what it names itself: a problem whose values all come from
/// the base is the base's, and reported there.
pub(super) fn finish(
    decl: &ModelDecl<'_>,
    draft: &Draft,
    problems: &mut Vec<Problem>,
) -> Option<Model> {
    let mut rules = Rules { own: decl.span, problems };
    if decl.base.is_none() {
        rules.problems.extend(missing(decl, draft));
    }
    let kv_heads = rules.kv_heads(draft);
    let head_dim = rules.head_dim(draft);
    let sharing = rules.sharing(draft);
    let q = draft.heads.value().zip(head_dim).map(|(heads, dim)| heads.saturating_mul(dim));
    let rows = [
        ("width", draft.width.value()),
        ("heads * head_dim", q),
        ("hidden", draft.ffn_hidden.value()),
    ];
    let causes =
        [draft.width.span(), draft.head_dim.span(), draft.heads.span(), draft.ffn_hidden.span()];
    let blocks = rules.groups("blocks", &draft.blocks, &rows, &causes);
    let embeddings = rules.groups("embeddings", &draft.embeddings, &rows[..1], &causes[..1]);
    let activations = rules.activations(&draft.activations, &rows, &causes);
    let model = Model {
        name: decl.name.text.to_owned(),
        vocab: draft.vocab.value()?,
        context: draft.context.value()?,
        width: draft.width.value()?,
        depth: draft.depth.value()?,
        block: Block {
            norm_eps: draft.norm_eps.value_or(words::DEFAULT_EPS)?,
            heads: draft.heads.value()?,
            kv_heads: kv_heads?,
            head_dim: head_dim?,
            rope_theta: draft.rope_theta.value()?,
            ffn_hidden: draft.ffn_hidden.value()?,
        },
        tied: draft.tied.value_or(true)?,
        sharing: sharing?,
        storage: Storage {
            blocks: blocks?,
            embeddings: embeddings?,
            kv_cache: draft.kv_cache.value_or(KvStorage::default())?,
            activations: activations?,
        },
    };
    rules.parameters(draft, &model);
    Some(model)
}

struct Rules<'p> {
    /// The text of the model.
    own: Span,
    problems: &'p mut Vec<Problem>,
}

impl Rules<'_> {
    /// Reports at the first of the places that lies in the model's own text.
    fn report(
        &mut self,
        causes: impl IntoIterator<Item = Option<Span>>,
        code: Code,
        message: String,
        hint: String,
    ) {
        let own = self.own;
        if let Some(span) = causes.into_iter().flatten().find(|span| own.holds(*span)) {
            self.problems.push(Problem::new(code, span, message).help(hint));
        }
    }

    fn kv_heads(&mut self, draft: &Draft) -> Option<u32> {
        let heads = draft.heads.value()?;
        let kv_heads = draft.kv_heads.value_or(heads)?;
        if heads.is_multiple_of(kv_heads) {
            return Some(kv_heads);
        }
        let message = format!("{heads} heads are not divisible by {kv_heads} kv_heads");
        let hint = format!("kv_heads may be {}", join_numbers(&divisors(heads), "or"));
        self.report([draft.kv_heads.span(), draft.heads.span()], Code::KvHeads, message, hint);
        None
    }

    fn head_dim(&mut self, draft: &Draft) -> Option<u32> {
        if !draft.head_dim.is_absent() {
            let dim = draft.head_dim.value()?;
            if dim.is_multiple_of(2) {
                return Some(dim);
            }
            let message = format!("head_dim {dim} is odd, rope turns pairs and needs it even");
            let near =
                [dim - 1, dim + 1].into_iter().filter(|d| *d >= 2 && *d <= words::HEAD_DIM.max);
            let hint = format!("use {}", join_numbers(&near.collect::<Vec<_>>(), "or"));
            self.report([draft.head_dim.span()], Code::HeadDim, message, hint);
            return None;
        }
        let (width, heads) = (draft.width.value()?, draft.heads.value()?);
        let causes = [draft.heads.span(), draft.width.span()];
        let max = words::HEAD_DIM.max;
        let (code, message) = if !width.is_multiple_of(heads) {
            let ratio = format!("{:.3}", f64::from(width) / f64::from(heads));
            let ratio = ratio.trim_end_matches('0');
            (Code::Heads, format!("{width} is not divisible by {heads} heads ({ratio})"))
        } else if width / heads > max {
            let message = format!(
                "head_dim = width / heads = {}, the limit is {}",
                grouped((width / heads).into()),
                grouped(max.into())
            );
            (Code::Range, message)
        } else if !(width / heads).is_multiple_of(2) {
            let message = format!(
                "head_dim = width / heads = {} is odd, rope turns pairs and needs it even",
                width / heads
            );
            (Code::HeadDim, message)
        } else {
            return Some(width / heads);
        };
        self.report(causes, code, message, heads_hint(code, width, heads));
        None
    }

    fn sharing(&mut self, draft: &Draft) -> Option<Sharing> {
        let sharing = draft.sharing.value_or(SharingDraft::None)?;
        let depth = draft.depth.value()?;
        let causes = [draft.sharing.span(), draft.depth.span()];
        let applied = match &sharing {
            SharingDraft::None => u64::from(depth),
            SharingDraft::Immediate(n) | SharingDraft::Loop(n) => u64::from(depth) * u64::from(*n),
            SharingDraft::Reverse => 2 * u64::from(depth),
            SharingDraft::Order(order) => order.len() as u64,
        };
        if applied > u64::from(words::MAX_APPLICATIONS) {
            let message = format!(
                "sharing applies {} blocks, the limit is {}",
                grouped(applied),
                grouped(words::MAX_APPLICATIONS.into())
            );
            self.report(
                causes,
                Code::Sharing,
                message,
                "lower the depth, or share less often".into(),
            );
            return None;
        }
        Some(match sharing {
            SharingDraft::None => Sharing::None,
            SharingDraft::Immediate(n) => Sharing::Immediate(n),
            SharingDraft::Loop(n) => Sharing::Loop(n),
            SharingDraft::Reverse => Sharing::Reverse,
            SharingDraft::Order(order) => Sharing::Order(self.order(&order, depth, causes)?),
        })
    }

    /// An order names stored blocks only, and each of them.
    fn order(
        &mut self,
        order: &[(u32, Span)],
        depth: u32,
        causes: [Option<Span>; 2],
    ) -> Option<Vec<u32>> {
        let [_, depth_span] = causes;
        let strangers: Vec<_> = order.iter().filter(|(block, _)| *block >= depth).collect();
        for (block, span) in &strangers {
            let message = format!("`order` refers to block {block}, the depth is {depth}");
            let hint = format!("blocks are numbered 0 to {}", depth - 1);
            self.report([Some(*span), depth_span], Code::Sharing, message, hint);
        }
        let mut used: Vec<u32> = order.iter().map(|(block, _)| *block).collect();
        used.sort_unstable();
        let unused: Vec<u32> = (0..depth).filter(|b| used.binary_search(b).is_err()).collect();
        if !unused.is_empty() {
            let named = match unused.as_slice() {
                [one] => format!("block {one}"),
                few if few.len() <= 6 => format!("blocks {}", join_numbers(few, "and")),
                many => format!("{} of {depth} blocks", many.len()),
            };
            let message = format!("`order` never applies {named}");
            let hint = "list every stored block, or lower the depth".to_owned();
            self.report(causes, Code::Sharing, message, hint);
        }
        let whole = strangers.is_empty() && unused.is_empty();
        whole.then(|| order.iter().map(|(block, _)| *block).collect())
    }

    /// A group cuts each row of the matrices of its class into whole groups, and is one that there
    /// are kernels for.
    fn groups(
        &mut self,
        class: &str,
        slot: &Slot<TensorStorage>,
        rows: &[(&str, Option<u32>)],
        causes: &[Option<Span>],
    ) -> Option<TensorStorage> {
        let storage = slot.value_or(TensorStorage::F32)?;
        let TensorStorage::Codes { group, .. } = storage else { return Some(storage) };
        self.group(class, group, slot.span(), rows, causes).then_some(storage)
    }

    /// The same of the groups of activations.
    fn activations(
        &mut self,
        slot: &Slot<Activations>,
        rows: &[(&str, Option<u32>)],
        causes: &[Option<Span>],
    ) -> Option<Option<Activations>> {
        match slot {
            Slot::Broken => None,
            Slot::Absent => Some(None),
            Slot::Given(activations, span) => match activations {
                Activations::Q8 { group: Some(group) } => self
                    .group("activations", *group, Some(*span), rows, causes)
                    .then_some(Some(*activations)),
                Activations::Q8 { group: None } | Activations::F32 => Some(Some(*activations)),
            },
        }
    }

    fn group(
        &mut self,
        class: &str,
        group: Group,
        place: Option<Span>,
        rows: &[(&str, Option<u32>)],
        causes: &[Option<Span>],
    ) -> bool {
        let known = || rows.iter().filter_map(|(name, k)| Some((*name, (*k)?)));
        let cut: Vec<String> = known()
            .filter(|(_, k)| !group.divides(*k))
            .map(|(name, k)| format!("rows of {} ({name})", grouped(k.into())))
            .collect();
        let fits = |group: Group| known().all(|(_, k)| group.divides(k));
        let fitting: Vec<String> = Group::SIZES
            .map(Group::Of)
            .into_iter()
            .chain([Group::Row])
            .filter(|group| fits(*group))
            .map(|group| format!("`group: {group}`"))
            .collect();
        let hint = if fitting.is_empty() {
            let instead = if class == "activations" { "f32" } else { "f16" };
            format!(
                "groups are whole blocks of 32: give it rows that 32 divides, or use `{instead}`"
            )
        } else {
            format!("write {}", join(&fitting, "or"))
        };
        let causes = [place].into_iter().chain(causes.iter().copied());
        let is_there = matches!(group, Group::Row)
            || Group::SIZES.into_iter().any(|size| group == Group::Of(size));
        if !cut.is_empty() {
            let groups = match group {
                Group::Of(size) => format!("groups of {size}"),
                Group::Row => "blocks of 32".to_owned(),
            };
            let message = format!("{class}: {groups} do not divide {}", join(&cut, "and"));
            self.report(causes, Code::Group, message, hint);
        } else if !is_there {
            let message = format!("{class}: a group of {group} is not supported yet");
            self.report(causes, Code::NotYet, message, hint);
        }
        cut.is_empty() && is_there
    }

    fn parameters(&mut self, draft: &Draft, model: &Model) {
        let count = model.parameters();
        if count.stored <= words::MAX_PARAMETERS {
            return;
        }
        let message = format!(
            "{} parameters exceed the limit of {}: depth {} * {} a block + {} outside of blocks",
            grouped(count.stored),
            grouped(words::MAX_PARAMETERS),
            grouped(model.depth.into()),
            grouped(model.block_parameters()),
            grouped(count.embedding + u64::from(model.width)),
        );
        let blocks = [&draft.depth, &draft.ffn_hidden, &draft.heads, &draft.width, &draft.vocab];
        let tables = [&draft.vocab, &draft.width, &draft.depth, &draft.ffn_hidden, &draft.heads];
        let in_blocks = count.stored - count.embedding > count.embedding;
        let causes = if in_blocks { blocks } else { tables };
        let rest = [draft.head_dim.span(), draft.kv_heads.span(), draft.tied.span()];
        let spans = causes.map(|slot| slot.span()).into_iter().chain(rest);
        let hint = if in_blocks { "lower depth, width or hidden" } else { "lower vocab or width" };
        self.report(spans, Code::Parameters, message, hint.into());
    }
}

/// The numbers of heads near `heads` that split `width` into even heads of a fair size.
fn heads_hint(code: Code, width: u32, heads: u32) -> String {
    let even = |h: &u32| (width / h).is_multiple_of(2);
    let fair = |h: &u32| width / h <= words::HEAD_DIM.max && *h <= words::HEADS.max;
    let fitting: Vec<u32> = divisors(width).into_iter().filter(even).filter(fair).collect();
    let near = nearest(&fitting, heads, 2);
    match near.as_slice() {
        [] => "give head_dim itself: `head_dim: 64`".into(),
        [_, _] if code == Code::Heads => {
            format!("{} are; or give head_dim itself", join_numbers(&near, "and"))
        }
        _ => format!("use {} heads, or give head_dim itself", join_numbers(&near, "or")),
    }
}
