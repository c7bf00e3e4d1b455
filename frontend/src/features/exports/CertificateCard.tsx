/** The certificate of an export: the verdict first, then what it rests on. */

import type { Certificate } from "@/api";
import { Card, Note, Prose } from "@/components/ui";
import { cx } from "@/lib/cx";
import { count, integer, loss, percent, sentence, significant } from "@/lib/format";
import type { Tone } from "@/lib/tone";

import { barsOf, placeOf } from "./bars";
import type { BarsGeometry } from "./bars";

/** The sentence of a verdict without its first word, which the title has. */
function figures(certificate: Certificate): string {
  return sentence(certificate.sentence.replace(/^(passed|unproven|failed): /, ""));
}

const VERDICTS = {
  passed: { tone: "good", title: "Passed: the exported files are what was trained." },
  unproven: { tone: "warn", title: "Unproven: the adapter changes too little to show whether it is in these files." },
  failed: { tone: "bad", title: "Failed: these files are not what was trained." },
} as const satisfies Record<Certificate["verdict"], { tone: Tone; title: string }>;

/** Whether the exported files are what was trained, in words; a failed one is not to be overlooked. */
export function Verdict({ certificate }: { certificate: Certificate }) {
  const { tone, title } = VERDICTS[certificate.verdict];
  return (
    <Note tone={tone} title={<span className="text-base font-semibold">{title}</span>}>
      <p>
        <Prose text={figures(certificate)} />
      </p>
      {certificate.verdict === "failed" && (
        <p className="mt-1">It is kept so that you can look at it. Do not use it in place of the adapter.</p>
      )}
    </Note>
  );
}

const BARS = [
  { name: "Base", key: "base", fill: "bg-s8" },
  { name: "Trained", key: "trained", fill: "bg-s1" },
  { name: "Exported", key: "exported", fill: "bg-s4" },
] as const;

interface LossBarProps {
  name: string;
  value: number | null;
  fill: string;
  geometry: BarsGeometry;
}

function LossBar({ name, value, fill, geometry }: LossBarProps) {
  const { band } = geometry;
  const from = band ? placeOf(band.from, geometry) : 0;
  const to = band ? placeOf(band.to, geometry) : 0;
  return (
    <>
      <span className="text-[0.8125rem]">{name}</span>
      <span className="relative h-5 overflow-hidden rounded-sm bg-sunken">
        {value !== null && (
          <span
            className={cx("absolute inset-y-0 left-0 rounded-sm", fill)}
            style={{ width: `${placeOf(value, geometry) * 100}%` }}
          />
        )}
        {band && (
          <span
            className="absolute inset-y-0 border-x border-dashed border-ink bg-ink/15"
            style={{ left: `${from * 100}%`, width: `max(2px, ${(to - from) * 100}%)` }}
          />
        )}
      </span>
      <span className="text-right text-[0.8125rem] font-semibold tabular-nums">
        {value === null ? "not read" : loss(value)}
      </span>
    </>
  );
}

/** What the picture shows, for those who do not see it. */
function inWords({ loss: losses, tolerance }: Certificate, { band }: BarsGeometry): string {
  const exported = losses.exported === null ? "could not be read" : loss(losses.exported);
  const allowed = band ? `; allowed for the export: ${loss(band.from)} to ${loss(band.to)}` : "";
  const by = tolerance.by === "rows" ? "; compared row by row" : "";
  return `Loss of base ${loss(losses.base)}, trained ${loss(losses.trained)}, exported ${exported}${allowed}${by}`;
}

/** Three losses as bars, with the range in which the exported one has to lie. */
export function LossBars({ certificate }: { certificate: Certificate }) {
  const geometry = barsOf(certificate);
  const { band, low, high } = geometry;
  return (
    <figure>
      <div role="img" aria-label={inWords(certificate, geometry)}>
        <div aria-hidden className="grid grid-cols-[auto_minmax(0,1fr)_auto] items-center gap-x-3 gap-y-1.5">
          {BARS.map(({ name, key, fill }) => (
            <LossBar key={key} name={name} value={certificate.loss[key]} fill={fill} geometry={geometry} />
          ))}
          <span />
          <span className="flex justify-between text-xs text-muted tabular-nums">
            <span>{loss(low)}</span>
            <span>{loss(high)}</span>
          </span>
          <span />
        </div>
      </div>
      <figcaption className="mt-2 text-xs text-muted">
        Loss in nats per token on rows that training has not seen; lower is better.{" "}
        {band
          ? `Between the dashed lines the export passes: ${percent(certificate.tolerance.share, 0)} of what the adapter changes.`
          : "The means are too close together to tell apart, so the rows are compared one by one."}
      </figcaption>
    </figure>
  );
}

/** Name and text of each figure under the bars. */
function facts(certificate: Certificate): [string, string][] {
  const { logits, noise, moved, tokens_equal: tokens, greedy } = certificate;
  const own = noise ? `, ${significant(noise.largest, 2)} on the base alone` : "";
  const changed = moved ? `; the adapter changes them by ${significant(moved.largest, 2)}` : "";
  const template = tokens.same_template === false ? "; the chat template is another one" : "";
  return [
    ["Read by", certificate.reader],
    ["Rows", `${count(certificate.rows, "row")}, ${count(certificate.tokens, "token")}`],
    [
      "Logits",
      logits === null
        ? "not compared"
        : `differ by at most ${significant(logits.largest, 2)} at ${count(logits.positions, "position")}${own}${changed}`,
    ],
    [
      "Tokens",
      `${integer(tokens.equal)} of ${count(tokens.conversations, "conversation")} equal${tokens.first_difference ? `; first difference: ${tokens.first_difference}` : ""}${template}`,
    ],
    [
      "Answers",
      `${integer(greedy.equal)} of ${integer(greedy.answers)} equal, token for token${greedy.first_divergence ? `; the first differs at token ${integer(greedy.first_divergence)}` : ""}`,
    ],
    ["Weights", certificate.quantisation ?? "not quantised"],
  ];
}

/** All of a certificate but its verdict. */
export function CertificateCard({ certificate }: { certificate: Certificate }) {
  return (
    <Card title="Certificate" description="Base, trained adapter and exported files, compared on the same rows.">
      <div className="space-y-4">
        <LossBars certificate={certificate} />
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-1.5 text-[0.8125rem]">
          {facts(certificate).map(([name, text]) => (
            <div key={name} className="contents">
              <dt className="text-muted">{name}</dt>
              <dd className="min-w-0 wrap-anywhere">{text}</dd>
            </div>
          ))}
        </dl>
        {certificate.reader_note !== undefined && certificate.reader_note !== "" && (
          <p className="text-xs text-muted">
            <Prose text={sentence(certificate.reader_note)} />
          </p>
        )}
        {(certificate.notes ?? []).map((note) => (
          <Note key={note} tone="warn">
            <Prose text={sentence(note)} />
          </Note>
        ))}
      </div>
    </Card>
  );
}
