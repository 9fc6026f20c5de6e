//! One kernel in a header: its comment, the constants of its parameters, its prototype.

use super::order::order;
use super::{Header, buffers, count, paragraph};
use crate::codegen::object::symbol;
use crate::fir::HeadShape;
use crate::lower::{AttentionKernel, CHUNK, EpilogueKernel, LinearKernel, Merge};
use crate::pack::layout::PANEL;
use crate::plan::{PlannedKernel, Spec};
use crate::vir::Index;
use deepthin_runtime::program::{Quotient, ScalarSource};
use std::fmt::Write;

/// A kernel in a header.
pub(super) struct Entry<'a> {
    header: &'a Header<'a>,
    kernel: &'a PlannedKernel,
    symbol: String,
}

/// A scalar parameter: its name, bounds and meaning.
struct Scalar {
    name: String,
    lo: i64,
    hi: i64,
    what: String,
}

impl<'a> Entry<'a> {
    /// The entry of a kernel.
    pub(super) fn new(header: &'a Header<'a>, kernel: &'a PlannedKernel) -> Self {
        let symbol = symbol(&header.model.name, &kernel.name);
        Entry { header, kernel, symbol }
    }

    /// The kernel's comment.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.symbol);
        match &self.kernel.spec {
            Spec::Embed(_) => text.push_str(
                "    out = the token's row of the table\n\n\
                 For one token, which is named by the panel, tile and lane of its row.\n",
            ),
            Spec::Linear(kernel) => text.push_str(&self.linear(kernel)),
            Spec::Attention(kernel) => text.push_str(&attention(kernel)),
            Spec::AttentionChunks(kernel) => text.push_str(&attention_chunks(kernel)),
        }
        text.push('\n');
        text.push_str(&self.buffer_table());
        text.push('\n');
        text.push_str(&self.scalar_table());
        text
    }

    /// The formula of a linear kernel.
    fn linear(&self, kernel: &LinearKernel) -> String {
        let mut text = kernel.merge.as_ref().map(merge).unwrap_or_default();
        let x = if let Some(eps) = kernel.norm {
            let _ = writeln!(text, "    n = x / sqrt(mean of x[i]^2 + {eps:?}) * gain");
            "n"
        } else {
            "x"
        };
        let formula = match kernel.epilogue {
            EpilogueKernel::Logits { .. } => format!(
                "out = W {x}\n    \
                 maxima = of each panel of out the greatest rank: the bits of out[i] + 0, all but the sign\n    \
                 inverted where that is set, as an i32; 2^31 - 1 where out[i] is not finite"
            ),
            EpilogueKernel::Residual => format!("out = W {x} + out"),
            EpilogueKernel::Glu => {
                format!("out = silu(GATE {x}) * (UP {x})\n    silu(a) = a / (1 + exp(-a))")
            }
            EpilogueKernel::RopeAppend { .. } => format!(
                "q, k, v = Q {x}, K {x}, V {x}\n    \
                 out = q, each head rotated by its token's position; k, rotated too, and v go to the caches"
            ),
        };
        let _ = writeln!(text, "    {formula}\n");
        let columns = count(kernel.columns, "column");
        let matrix = match kernel.epilogue {
            EpilogueKernel::Logits { .. } | EpilogueKernel::Residual => {
                format!("W has {} rows and {columns}", buffers::rows(self.header.model, kernel))
            }
            EpilogueKernel::Glu => {
                let rows = buffers::rows(self.header.model, kernel);
                format!("GATE and UP have {rows} rows and {columns}")
            }
            EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, .. } => format!(
                "Q has {} rows, K and V have {}, and {columns}",
                heads * head_dim,
                kv_heads * head_dim
            ),
        };
        let tokens = match (kernel.tokens, kernel.epilogue) {
            (1, _) => "For one token.".to_owned(),
            (tokens, EpilogueKernel::RopeAppend { .. }) => {
                format!("For {tokens} tokens of consecutive positions.")
            }
            (tokens, _) => format!("For {tokens} tokens."),
        };
        let order = order(kernel);
        text + &paragraph(
            "",
            &format!(
                "{tokens} {matrix}, in {} of {PANEL} rows. {order}",
                count(kernel.panels(), "panel")
            ),
        )
    }

    /// A line for each buffer, more where its contents need them.
    fn buffer_table(&self) -> String {
        let PlannedKernel { spec, lowered, .. } = self.kernel;
        let declared: Vec<_> = lowered.kernel.buffers.values().collect();
        let width = declared.iter().map(|b| b.name.len()).max().unwrap_or(0).max(6);
        let mut text = format!("buffer  {:width$}       bytes  use      contents\n", "");
        for (i, (buffer, role)) in declared.iter().zip(&lowered.buffers).enumerate() {
            let contents = buffers::contents(self.header.model, spec, *role);
            let mut lines = contents.lines();
            let _ = writeln!(
                text,
                "{i:>6}  {:width$}  {:>10}  {:7}  {}",
                buffer.name,
                buffer.bytes,
                buffers::usage(spec, *role),
                lines.next().unwrap_or_default()
            );
            for line in lines {
                let _ = writeln!(text, "{:6}  {:width$}  {:10}  {:7}  {line}", "", "", "", "");
            }
        }
        text
    }

    fn scalar_table(&self) -> String {
        let scalars = self.scalars();
        let width = scalars.iter().map(|s| s.name.len()).max().unwrap_or(0).max(6);
        let mut text = format!("scalar  {:width$}      values  meaning\n", "");
        for (i, Scalar { name, lo, hi, what }) in scalars.iter().enumerate() {
            let values = format!("{lo} to {hi}");
            let _ = writeln!(text, "{i:>6}  {name:width$}  {values:>10}  {what}");
        }
        text
    }

    fn scalars(&self) -> Vec<Scalar> {
        let lowered = &self.kernel.lowered;
        let declared = lowered.kernel.indices.values().zip(&lowered.scalars);
        let mut units = String::new();
        let described = declared.filter_map(|(index, source)| {
            let what = meaning(*source);
            match index {
                Index::Scalar { name, lo, hi } => {
                    Some(Scalar { name: name.clone(), lo: *lo, hi: *hi, what })
                }
                Index::RangeBegin { name, count } => {
                    units.clone_from(name);
                    let what = format!("first of the share of {name}");
                    Some(Scalar { name: "begin".to_owned(), lo: 0, hi: i64::from(*count), what })
                }
                Index::RangeEnd { count } => {
                    let what = format!("one past the last of the share of {units}");
                    Some(Scalar { name: "end".to_owned(), lo: 0, hi: i64::from(*count), what })
                }
                Index::Loop => None,
            }
        });
        described.collect()
    }

    /// Constants and prototype.
    pub(super) fn declarations(&self) -> String {
        let name = self.symbol.to_ascii_uppercase();
        let buffers: Vec<_> = self.kernel.lowered.kernel.buffers.values().collect();
        let scalars = self.scalars();
        let mut constants = vec![("BUFFERS".to_owned(), buffers.len().to_string())];
        for (i, buffer) in buffers.iter().enumerate() {
            constants.push((format!("BUFFER_{}", buffer.name), i.to_string()));
        }
        for buffer in &buffers {
            constants.push((format!("BYTES_{}", buffer.name), buffer.bytes.to_string()));
        }
        constants.push(("SCALARS".to_owned(), scalars.len().to_string()));
        for (i, scalar) in scalars.iter().enumerate() {
            constants.push((format!("SCALAR_{}", scalar.name), i.to_string()));
        }
        let width = constants.iter().map(|(constant, _)| constant.len()).max().unwrap_or(0);
        let line = |(constant, value): &(String, String)| {
            format!("    {name}_{:width$} = {value}", constant.to_ascii_uppercase())
        };
        let lines: Vec<String> = constants.iter().map(line).collect();
        let parameters = "uint8_t *const *buffers, const int64_t *scalars";
        let symbol = &self.symbol;
        format!("enum {{\n{}\n}};\n\nvoid {symbol}(\n    {parameters});\n", lines.join(",\n"))
    }
}

/// The formula of attention.
fn attention(kernel: &AttentionKernel) -> String {
    let HeadShape { heads, head_dim, .. } = kernel.shape;
    format!(
        "    weight[j] = softmax over positions j = 0 .. position of q . key[j] / sqrt({head_dim})\n    \
         out = sum over j of weight[j] * value[j]\n\n\
         For one token and each key and value head of a share, with the query heads that read it:\n\
         {} of {head_dim} elements in all; {}\n",
        count(heads, "query head"),
        reads(kernel.shape),
    )
}

/// The formula of what a chunk gives to attention.
fn attention_chunks(kernel: &AttentionKernel) -> String {
    let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
    format!(
        "    score[j] = q . key[j] / sqrt({head_dim}), for the positions j of a chunk up to position\n    \
         max = greatest of score[j]\n    \
         total = sum over j of exp(score[j] - max)\n    \
         sum = sum over j of exp(score[j] - max) * value[j]\n\n\
         For one token and each pair of a share of a chunk of {CHUNK} positions and a key and value \
         head,\nwith the query heads that read it. Pair number {kv_heads} * chunk + head; there are \
         {kv_heads} * chunks.\n{} of {head_dim} elements in all; {}\n",
        count(heads, "query head"),
        reads(kernel.shape),
    )
}

/// The formula of the merge of chunks.
fn merge(sizes: &Merge) -> String {
    format!(
        "    m = greatest of max[c], over the chunks c, of each of {} of {} elements\n    \
         x = (sum over c of exp(max[c] - m) * sum[c]) / (sum over c of exp(max[c] - m) * total[c]),\n        \
         head by head\n",
        count(sizes.heads, "head"),
        sizes.head_dim,
    )
}

/// Which keys and values a query head reads.
fn reads(shape: HeadShape) -> String {
    format!("query head h reads key and value head h / {}.", shape.heads / shape.kv_heads.max(1))
}

/// What a scalar is, from where the runtime takes it.
fn meaning(source: ScalarSource) -> String {
    match source {
        ScalarSource::RangeBegin | ScalarSource::RangeEnd => String::new(),
        ScalarSource::Position(quotient) => formula("position", quotient),
        ScalarSource::TokenId(quotient) => formula("token id", quotient),
    }
}

/// `((x + add) / divide) % modulo + plus` without the parts that change nothing.
fn formula(x: &str, quotient: Quotient) -> String {
    let Quotient { add, divide, modulo, plus } = quotient;
    let mut text = if add == 0 { x.to_owned() } else { format!("({x} + {add})") };
    if divide != 1 {
        let _ = write!(text, " / {divide}");
    }
    if modulo != 0 {
        let _ = write!(text, " % {modulo}");
    }
    if plus != 0 {
        let _ = write!(text, " + {plus}");
    }
    text
}
