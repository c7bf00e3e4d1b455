import { ZoomOut } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { Button } from "@/components/ui/Button";
import { Segmented } from "@/components/ui/choice";
import { cx } from "@/lib/cx";
import { significant } from "@/lib/format";
import { useTheme } from "@/lib/theme";

import { align, positive } from "./align";
import type { Aligned, Numbers } from "./align";

/** One of eight colours that stay apart in both themes. */
export type SeriesColour = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

export interface ChartSeries {
  label: string;
  x: Numbers;
  y: Numbers;
  colour: SeriesColour;
  /** Pale, for raw values behind a smoothed line. */
  faint?: boolean | undefined;
  dashed?: boolean | undefined;
  /** Lengths of strokes and gaps, to tell many lines apart without colour; goes before `dashed`. */
  dash?: readonly number[] | undefined;
  /** Draw each point, for few and far values such as evaluations. */
  points?: boolean | undefined;
  /** Not in the legend: a companion of another line. */
  unlisted?: boolean | undefined;
  /** Label of the line down to which the area below this one is tinted: a band. */
  bandTo?: string | undefined;
}

export interface ChartMark {
  x: number;
  y: number;
  label: string;
  colour: SeriesColour;
}

interface LineChartProps {
  series: readonly ChartSeries[];
  /** What it shows and how it goes, in a sentence: all that a screen reader gets. */
  summary: string;
  xLabel?: string | undefined;
  /** Of the y axis and the values under the cursor. */
  format?: ((value: number) => string) | undefined;
  /** Points worth a name, such as the best evaluation. */
  marks?: readonly ChartMark[] | undefined;
  height?: number | undefined;
  /** Offers a switch between linear and logarithmic. */
  logToggle?: boolean | undefined;
  /** Charts with the same key move their cursors and zoom together. */
  syncKey?: string | undefined;
  /** Changes when typed columns were appended to in place. */
  version?: number | undefined;
}

// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- uPlot declares an enum that it does not export
const LOGARITHMIC: uPlot.Scale = { distr: 3 };
const FONT = "11px ui-sans-serif, system-ui, sans-serif";

function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--c-${name}`).trim() || "#888";
}

const SWATCH: Record<SeriesColour, string> = {
  1: "stroke-s1",
  2: "stroke-s2",
  3: "stroke-s3",
  4: "stroke-s4",
  5: "stroke-s5",
  6: "stroke-s6",
  7: "stroke-s7",
  8: "stroke-s8",
};

/** A short piece of a line as the chart draws it, for legends. */
export function LineSwatch({
  colour,
  faint,
  dashed,
  dash,
}: Pick<ChartSeries, "colour" | "faint" | "dashed" | "dash">) {
  return (
    <svg viewBox="0 0 24 4" aria-hidden className={cx("h-1 w-6 shrink-0", SWATCH[colour], faint && "opacity-50")}>
      <line
        x1="0"
        x2="24"
        y1="2"
        y2="2"
        strokeWidth="2"
        strokeDasharray={dash?.join(" ") ?? (dashed ? "5 4" : undefined)}
      />
    </svg>
  );
}

function drawMarks(plot: uPlot, marks: readonly ChartMark[]): void {
  const { ctx } = plot;
  const ratio = uPlot.pxRatio;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.font = `${11 * ratio}px ui-sans-serif, system-ui, sans-serif`;
  for (const mark of marks) {
    const x = plot.valToPos(mark.x, "x", true);
    const y = plot.valToPos(mark.y, "y", true);
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    ctx.strokeStyle = ctx.fillStyle = cssColour(`s${mark.colour}`);
    ctx.lineWidth = 2 * ratio;
    ctx.beginPath();
    ctx.arc(x, y, 5 * ratio, 0, 2 * Math.PI);
    ctx.stroke();
    const onLeft = x > left + width * 0.7;
    ctx.textAlign = onLeft ? "right" : "left";
    ctx.textBaseline = y < top + 20 * ratio ? "top" : "bottom";
    // A halo, so that it can be read on top of lines.
    ctx.strokeStyle = cssColour("surface");
    ctx.lineWidth = 3 * ratio;
    ctx.strokeText(mark.label, x + (onLeft ? -8 : 8) * ratio, y);
    ctx.fillText(mark.label, x + (onLeft ? -8 : 8) * ratio, y);
  }
  ctx.restore();
}

interface Range {
  min: number;
  max: number;
}

interface PlotSettings {
  series: readonly ChartSeries[];
  log: boolean;
  height: number;
  width: number;
  format: (value: number) => string;
  xLabel: string;
  syncKey: string | undefined;
  marks: () => readonly ChartMark[];
  onCursor: (plot: uPlot) => void;
  /** Told with each change of the x scale; null when everything is seen. */
  onZoom: (range: Range | null) => void;
}

function axis(label: string | null, values: (value: number) => string): uPlot.Axis {
  return {
    stroke: cssColour("muted"),
    grid: { stroke: cssColour("line"), width: 1 },
    ticks: { stroke: cssColour("line"), width: 1, size: 4 },
    font: FONT,
    ...(label === null ? {} : { label, labelFont: FONT, labelSize: 18, labelGap: 0 }),
    values: (_plot, splits) => splits.map((split) => (Number.isFinite(split) ? values(split) : "")),
  };
}

/** Tints between pairs of lines. */
function bandsOf(series: readonly ChartSeries[]): uPlot.Band[] {
  return series.flatMap(({ bandTo, colour }, at) => {
    const low = bandTo === undefined ? -1 : series.findIndex(({ label }) => label === bandTo);
    return low < 0
      ? []
      : [{ series: [at + 1, low + 1] satisfies uPlot.Band.Bounds, fill: `${cssColour(`s${colour}`)}1c` }];
  });
}

/** The y axis: what uPlot finds, but for a line that never moves, around which a little room is enough. */
function padded(_plot: uPlot, low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) return [null, null];
  if (low !== high) return uPlot.rangeNum(low, high, 0.1, true);
  const room = low === 0 ? 1 : Math.abs(low) / 10;
  return low >= 0 ? [Math.max(0, low - room), high + room] : [low - room, high + room];
}

function plotOptions(settings: PlotSettings): uPlot.Options {
  return {
    width: settings.width,
    height: settings.height,
    padding: [10, 24, 0, 0], // the last label of the x axis is centred at the right edge
    legend: { show: false },
    scales: { x: { time: false }, y: settings.log ? LOGARITHMIC : { range: padded } },
    axes: [
      { ...axis(settings.xLabel, (value) => significant(value, 6)), size: 32 },
      { ...axis(null, settings.format), size: 58 },
    ],
    cursor: {
      drag: { x: true, y: false },
      points: { size: 6 },
      ...(settings.syncKey === undefined ? {} : { sync: { key: settings.syncKey } }),
    },
    series: [
      {},
      ...settings.series.map((one) => ({
        label: one.label,
        stroke: cssColour(`s${one.colour}`),
        width: one.faint ? 1 : 1.75,
        alpha: one.faint ? 0.35 : 1,
        spanGaps: true,
        ...(one.dash?.length ? { dash: [...one.dash] } : one.dashed ? { dash: [5, 4] } : {}),
        points: { show: one.points === true, size: 6, fill: cssColour(`s${one.colour}`) },
      })),
    ],
    bands: bandsOf(settings.series),
    hooks: {
      draw: [(plot) => drawMarks(plot, settings.marks())],
      setCursor: [settings.onCursor],
      setScale: [
        (plot, key) => {
          if (key !== "x") return;
          const { min = -Infinity, max = Infinity } = plot.scales["x"] ?? {};
          const x = plot.data[0];
          const within = x.length > 1 && (min > (x[0] ?? 0) || max < (x[x.length - 1] ?? 0));
          settings.onZoom(within ? { min, max } : null);
        },
      ],
    },
  };
}

/**
 * Lines over one x axis on canvas; 100,000 points stay fluid. Drag to zoom, double-click to see everything again.
 * Typed columns are drawn as they are: pass `version` when they grow in place.
 */
export function LineChart(props: LineChartProps) {
  const {
    series,
    summary,
    xLabel = "step",
    format = formatY,
    marks,
    height = 240,
    logToggle,
    syncKey,
    version,
  } = props;
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const values = useRef<(HTMLSpanElement | null)[]>([]);
  const where = useRef<HTMLSpanElement>(null);
  const current = useRef({ marks, format });
  const [log, setLog] = useState(false);
  const [zoomed, setZoomed] = useState(false);
  const range = useRef<Range | null>(null);
  const theme = useTheme();

  const data = useMemo<Aligned>(
    () => {
      const [x, ...columns] = align(series);
      return log ? [x, ...columns.map(positive)] : [x, ...columns];
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps -- columns grow in place; `version` says when
    [series, log, version],
  );
  // What uPlot cannot change on a plot that exists; the plot is made again when it differs.
  const shape = JSON.stringify([
    series.map((one) => [one.label, one.colour, one.faint, one.dashed, one.dash, one.points, one.bandTo]),
    log,
    theme,
    xLabel,
    syncKey,
    height,
  ]);

  useEffect(() => {
    current.current = { marks, format };
  });

  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const onCursor = (one: uPlot) => {
      const index = one.cursor.idx;
      if (where.current)
        where.current.textContent = index == null ? "" : `${xLabel} ${significant(one.data[0][index] ?? NaN, 7)}`;
      values.current.forEach((span, at) => {
        if (!span) return;
        const value = index == null ? null : near(one.data[at + 1], index);
        span.textContent = value === null ? "" : current.current.format(value);
      });
    };
    const made = new uPlot(
      plotOptions({
        series,
        log,
        height,
        width: Math.max(120, element.clientWidth),
        format: (value) => current.current.format(value),
        xLabel,
        syncKey,
        marks: () => current.current.marks ?? [],
        onCursor,
        onZoom: (seen) => {
          range.current = seen;
          setZoomed(seen !== null);
        },
      }),
      toUplot(data),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(120, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps -- `shape` stands for all that needs a new plot
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    const kept = range.current;
    made.setData(toUplot(data), kept === null);
    // What was zoomed into stays in view, also on a plot that was made again for another look.
    if (kept) made.setScale("x", kept);
  }, [data, marks, shape]);

  const reset = () => plot.current?.setData(toUplot(data), true);
  return (
    <figure className="min-w-0">
      <div className="mb-1 flex min-h-7 flex-wrap items-center justify-between gap-x-4 gap-y-1">
        <figcaption className="flex flex-wrap items-center gap-x-4 gap-y-1 text-xs">
          {series.map((one, at) => (
            <span key={one.label} className={one.unlisted ? "hidden" : "inline-flex items-center gap-1.5"}>
              <LineSwatch {...one} />
              {one.label}
              <span ref={(span) => void (values.current[at] = span)} className="font-medium" />
            </span>
          ))}
          <span ref={where} className="text-muted" />
        </figcaption>
        <div className="flex items-center gap-2">
          {zoomed && (
            <Button size="sm" variant="ghost" icon={ZoomOut} onClick={reset}>
              Show all
            </Button>
          )}
          {logToggle && (
            <Segmented
              size="sm"
              label="Scale of the y axis"
              value={log ? "log" : "linear"}
              options={SCALES}
              onValue={(scale) => setLog(scale === "log")}
            />
          )}
        </div>
      </div>
      <div
        ref={frame}
        role="img"
        aria-label={summary}
        className="w-full overflow-hidden"
        style={{ minHeight: height }}
      />
    </figure>
  );
}

const SCALES = [
  { value: "linear", label: "Linear" },
  { value: "log", label: "Log" },
] as const;

function formatY(value: number): string {
  return significant(value, 4);
}

/** The value at `index`, or the last one before it where the column has a gap. */
function near(column: ArrayLike<number | null | undefined> | undefined, index: number): number | null {
  if (!column) return null;
  for (let at = index; at >= 0; at--) {
    const value = column[at];
    if (value !== null && value !== undefined && Number.isFinite(value)) return value;
  }
  return null;
}

function isTyped(column: ArrayLike<number | null>): column is Float64Array {
  return column instanceof Float64Array;
}

function toUplot([x, ...columns]: Aligned): uPlot.AlignedData {
  return [
    isTyped(x) ? x : Array.from(x),
    ...columns.map((column) => (isTyped(column) ? column : Array.from(column))),
  ];
}
