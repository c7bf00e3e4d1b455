/** Rank and alpha, and the factor that they make. */

import { useNumber, useSetting } from "@/features/form/form";
import { SettingField } from "@/features/form/SettingField";
import { cx } from "@/lib/cx";
import { significant } from "@/lib/format";
import type { Tone } from "@/lib/tone";

const RANKS = [8, 16, 32, 64] as const;

/** How alpha and rank become the factor on the update, for each kind of scaling. */
function formulaOf(scaling: string, alpha: number, rank: number): string {
  const given = `alpha ${significant(alpha, 4)}`;
  if (scaling === "raw") return `${given} as it is`;
  return scaling === "rslora" ? `${given} / √rank ${rank}` : `${given} / rank ${rank}`;
}

/** A scale with at least one decimal: `1.0`, `0.5`, `2.83`. */
export function scaleText(scale: number): string {
  const text = significant(scale, 3);
  return /^\d+$/.test(text) ? `${text}.0` : text;
}

/** The factor on the update, as the server says it, and how it comes about. */
export function Scale({ scale }: { scale: number | null | undefined }) {
  const rank = useNumber("lora_rank");
  const alpha = useNumber("lora_alpha");
  const scaling = useSetting("lora_scaling");
  if (rank === null || alpha === null || scale == null)
    return <p className="text-muted">Rank and alpha give the scale.</p>;
  const tone: Tone = scale > 4 ? "warn" : "neutral";
  return (
    <p className="flex flex-wrap items-center gap-x-2 text-[0.8125rem]" aria-live="polite">
      <span className="text-muted">{formulaOf(scaling?.text ?? "standard", alpha, rank)}</span>
      <span aria-hidden className="text-muted">
        →
      </span>
      <span className={cx("font-semibold", tone === "warn" && "text-warn")}>scale {scaleText(scale)}</span>
      <span className="text-xs text-muted">
        {scale === 1 ? "the update counts as it is" : `the update is multiplied by ${scaleText(scale)}`}
      </span>
    </p>
  );
}

/** Rank, with usual ones to click, and alpha. */
export function RankAndAlpha() {
  const rank = useSetting("lora_rank");
  const usual = RANKS.map((value) => (
    <button
      key={value}
      type="button"
      aria-label={`Rank ${value}`}
      aria-pressed={rank?.text === String(value)}
      onClick={() => rank?.set(String(value))}
      className="rounded border border-line px-1.5 text-xs text-ink hover:border-edge aria-pressed:border-accent aria-pressed:bg-accent-soft"
    >
      {value}
    </button>
  ));
  return (
    <>
      <SettingField
        name="lora_rank"
        hint={
          <span className="inline-flex flex-wrap gap-1.5">
            Usual: <span className="inline-flex gap-1">{usual}</span>
          </span>
        }
      />
      <SettingField name="lora_alpha" hint="Strength of the update; usually equal to the rank." />
    </>
  );
}
