//! Reads the entries of a model into a draft: each key, each section, each form.

use crate::ast::{Entry, Ident, ModelDecl, Value, ValueKind};
use crate::diagnostic::{Code, Problem, Span};
use crate::model::{Activations, Group, KvStorage, TensorStorage};
use crate::source::clipped;
use crate::suggest::nearest_name;

use super::draft::{Draft, SharingDraft, Slot};
use super::values::{Reader, Taken};
use super::vocabulary as words;
use super::vocabulary::{CountKey, Form};

impl<'s> Reader<'_, 's> {
    /// What a model names itself, without its base.
    pub(super) fn model(&mut self, decl: &ModelDecl<'s>) -> Draft {
        let mut draft = Draft::default();
        for Entry { key, value } in self.distinct(&decl.entries) {
            match key.text {
                "vocab" => draft.vocab = self.count(value, words::VOCAB),
                "context" => draft.context = self.count(value, words::CONTEXT),
                "width" => draft.width = self.count(value, words::WIDTH),
                "depth" => draft.depth = self.count(value, words::DEPTH),
                "block" => self.block(value, &mut draft),
                "embeddings" => {
                    draft.tied =
                        self.choice(*key, value, &words::EMBEDDINGS, |name| name == "tied");
                }
                "sharing" => draft.sharing = self.sharing(value),
                "storage" => self.storage(value, &mut draft),
                _ => self.unknown_key("model", *key, &words::MODEL_KEYS, &mut draft),
            }
        }
        draft
    }

    fn block(&mut self, value: &Value<'s>, draft: &mut Draft) {
        let Some(entries) = self.section("block", value, "block { norm rms(eps: 1e-5) }") else {
            draft.misspelled.insert("block");
            return;
        };
        for Entry { key, value } in self.distinct(entries) {
            match key.text {
                "norm" => draft.norm_eps = self.norm(value),
                "attention" => self.attention(value, draft),
                "position" => draft.rope_theta = self.position(value),
                "ffn" => {
                    let taken = self.take("ffn", value, &words::FFN);
                    draft.ffn_hidden = self.counted(taken.as_ref(), words::HIDDEN);
                }
                _ => self.unknown_key("block", *key, &words::BLOCK_KEYS, draft),
            }
        }
    }

    fn norm(&mut self, value: &Value<'s>) -> Slot<f32> {
        match self.take("norm", value, &words::NORM) {
            None => Slot::Broken,
            Some(taken) => match taken.argument("eps") {
                Some(value) => self.positive(value, "eps", "eps: 1e-5"),
                None => taken.missing(),
            },
        }
    }

    fn position(&mut self, value: &Value<'s>) -> Slot<f64> {
        match self.take("position", value, &words::POSITION) {
            None => Slot::Broken,
            Some(taken) => match taken.argument("theta") {
                Some(value) => self.positive(value, "theta", "theta: 10_000"),
                None => taken.missing(),
            },
        }
    }

    fn attention(&mut self, value: &Value<'s>, draft: &mut Draft) {
        let taken = self.take("attention", value, &words::ATTENTION);
        draft.heads = self.counted(taken.as_ref(), words::HEADS);
        draft.kv_heads = self.counted(taken.as_ref(), words::KV_HEADS);
        draft.head_dim = self.counted(taken.as_ref(), words::HEAD_DIM);
    }

    fn sharing(&mut self, value: &Value<'s>) -> Slot<SharingDraft> {
        let Some(taken) = self.take("sharing", value, &words::SHARING) else {
            return Slot::Broken;
        };
        let draft = match taken.form.name {
            "immediate" => self.times(&taken).map(SharingDraft::Immediate),
            "loop" => self.times(&taken).map(SharingDraft::Loop),
            "reverse" => Some(SharingDraft::Reverse),
            "order" => self.order(&taken).map(SharingDraft::Order),
            _ => Some(SharingDraft::None),
        };
        draft.map_or(Slot::Broken, |draft| Slot::Given(draft, value.span))
    }

    /// The argument of `immediate` and `loop`.
    fn times(&mut self, taken: &Taken<'_, 's>) -> Option<u32> {
        let slot = self.counted(Some(taken), words::TIMES);
        if slot.is_absent() {
            let message = format!("`{}` needs to know how many times", taken.name.text);
            let problem = Problem::new(Code::MissingKey, taken.name.span, message);
            self.report(problem.help(format!("for example `{}`", taken.form.example)));
        }
        slot.value()
    }

    /// The blocks of an `order`, each a number that some depth could hold.
    fn order(&mut self, taken: &Taken<'_, 's>) -> Option<Vec<(u32, Span)>> {
        let most = words::MAX_APPLICATIONS;
        if usize::try_from(most).is_ok_and(|most| taken.items.len() > most) {
            let message =
                format!("`order` lists {} blocks, the limit is {most}", taken.items.len());
            let problem = Problem::new(Code::Sharing, taken.name.span, message);
            self.report(problem.help("shorten the list"));
            return None;
        }
        let key = CountKey { name: "block", min: 0, max: most - 1, example: "order [0, 0, 1]" };
        let items: Vec<Slot<u32>> = taken.items.iter().map(|item| self.count(item, key)).collect();
        let read = items.iter().map(|item| Some((item.value()?, item.span()?)));
        read.collect()
    }

    fn storage(&mut self, value: &Value<'s>, draft: &mut Draft) {
        let Some(entries) = self.section("storage", value, "storage { blocks q4(group: 32) }")
        else {
            return;
        };
        for Entry { key, value } in self.distinct(entries) {
            match key.text {
                "blocks" => draft.blocks = self.tensor("blocks", value),
                "embeddings" => draft.embeddings = self.tensor("embeddings", value),
                "kv_cache" => {
                    draft.kv_cache =
                        self.choice(*key, value, &words::KV_CACHE, |name| match name {
                            "f16" => KvStorage::F16,
                            "q8" => KvStorage::Q8,
                            _ => KvStorage::F32,
                        });
                }
                "activations" => {
                    draft.activations = self.activations(value);
                }
                _ => self.unknown_key("storage", *key, &words::STORAGE_KEYS, draft),
            }
        }
    }

    fn tensor(&mut self, key: &str, value: &Value<'s>) -> Slot<TensorStorage> {
        let Some(taken) = self.take(key, value, &words::TENSORS) else {
            return Slot::Broken;
        };
        let codes = |bits, minimum, group: Option<Group>| {
            group.map(|group| TensorStorage::Codes { bits, group, minimum })
        };
        let group = self.group(&taken).value_or(words::DEFAULT_GROUP);
        let storage = match taken.form.name {
            "f16" => Some(TensorStorage::F16),
            "bf16" => Some(TensorStorage::Bf16),
            "q8" => codes(8, false, group),
            "q6" => codes(6, false, group),
            "q4" => codes(4, false, group),
            "q8m" => codes(8, true, group),
            "q6m" => codes(6, true, group),
            "q4m" => codes(4, true, group),
            _ => Some(TensorStorage::F32),
        };
        storage.map_or(Slot::Broken, |storage| Slot::Given(storage, value.span))
    }

    fn activations(&mut self, value: &Value<'s>) -> Slot<Activations> {
        let Some(taken) = self.take("activations", value, &words::ACTIVATIONS) else {
            return Slot::Broken;
        };
        let activations = match (taken.form.name, self.group(&taken)) {
            (_, Slot::Broken) => return Slot::Broken,
            ("q8", group) => Activations::Q8 { group: group.value() },
            _ => Activations::F32,
        };
        Slot::Given(activations, value.span)
    }

    /// The argument of a form that takes a group: a count, or the word `row`.
    fn group(&mut self, taken: &Taken<'_, 's>) -> Slot<Group> {
        match taken.argument(words::GROUP.name) {
            None => taken.missing(),
            Some(Value { kind: ValueKind::Word("row"), span }) => Slot::Given(Group::Row, *span),
            Some(Value { kind: ValueKind::Word(word), span }) => {
                self.no_group(taken.form, word, *span);
                Slot::Broken
            }
            Some(value) => match self.count(value, words::GROUP) {
                Slot::Given(size, span) => Slot::Given(Group::Of(size), span),
                Slot::Broken | Slot::Absent => Slot::Broken,
            },
        }
    }

    /// A word that is no group of a form.
    fn no_group(&mut self, form: Form, word: &str, span: Span) {
        let known = words::said_otherwise(form.name, word).map(str::to_owned);
        let near = nearest_name(word, &["row"]).map(|row| format!("did you mean `{row}`?"));
        let example = || format!("for example `{}`", words::GROUP.example);
        let message = format!("`group` takes a count or `row`, found `{}`", clipped(word));
        let hint = known.or(near).unwrap_or_else(example);
        self.report(Problem::new(Code::WrongValue, span, message).help(hint));
    }

    /// A value that is one of a few plain words.
    fn choice<T>(
        &mut self,
        key: Ident<'_>,
        value: &Value<'s>,
        forms: &[Form],
        read: impl Fn(&str) -> T,
    ) -> Slot<T> {
        let taken = self.take(key.text, value, forms);
        taken.map_or(Slot::Broken, |taken| Slot::Given(read(taken.form.name), value.span))
    }

    /// The argument of a form that takes a count, by the name of the count.
    fn counted(&mut self, taken: Option<&Taken<'_, 's>>, key: CountKey) -> Slot<u32> {
        let Some(taken) = taken else { return Slot::Broken };
        match taken.argument(key.name) {
            Some(value) => self.count(value, key),
            None => taken.missing(),
        }
    }

    fn section<'a>(
        &mut self,
        key: &str,
        value: &'a Value<'s>,
        example: &str,
    ) -> Option<&'a [Entry<'s>]> {
        let ValueKind::Section(entries) = &value.kind else {
            let message = format!("`{key}` takes a section `{{ .. }}`");
            let problem = Problem::new(Code::WrongValue, value.span, message);
            self.report(problem.help(format!("for example `{example}`")));
            return None;
        };
        Some(entries)
    }

    /// The first entry of each key; the others are reported.
    fn distinct<'a>(&mut self, entries: &'a [Entry<'s>]) -> Vec<&'a Entry<'s>> {
        let mut first = std::collections::BTreeMap::new();
        let mut distinct = Vec::new();
        for entry in entries {
            match first.get(entry.key.text) {
                Some(&span) => self.duplicate("key", entry.key, span),
                None => {
                    first.insert(entry.key.text, entry.key.span);
                    distinct.push(entry);
                }
            }
        }
        distinct
    }

    fn unknown_key(
        &mut self,
        place: &str,
        key: Ident<'_>,
        known: &[&'static str],
        draft: &mut Draft,
    ) {
        let meant = self.unknown("key", place, key, known);
        draft.misspelled.extend(meant);
    }
}
