/** What several pages of Results are made of. */

import { useCallback, useEffect, useRef, useState } from "react";
import type { ReactNode } from "react";
import { useNavigate } from "react-router";

import { Button, PageHeader, Tabs } from "@/components/ui";
import { integer } from "@/lib/format";

type Section = "runs" | "adapters" | "exports";

const PLACES: Record<Section, string> = {
  runs: "/results",
  adapters: "/results/adapters",
  exports: "/results/exports",
};

/** Title and tabs that the lists share. */
export function Frame({
  section,
  actions,
  children,
}: {
  section: Section;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const navigate = useNavigate();
  return (
    <>
      <PageHeader
        title="Results"
        description="Every run with its settings and history, every adapter on this machine, and what was exported of them."
        actions={actions}
      />
      <Tabs
        label="Results"
        value={section}
        tabs={[
          { value: "runs", label: "Runs" },
          { value: "adapters", label: "Adapters" },
          { value: "exports", label: "Exports" },
        ]}
        onValue={(to) => void navigate(PLACES[to])}
      >
        {children}
      </Tabs>
    </>
  );
}

/** Names and values under one another. */
export function Pairs({ rows }: { rows: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="grid grid-cols-[minmax(6rem,max-content)_minmax(0,1fr)] gap-x-4 gap-y-1.5 text-[0.8125rem]">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted wrap-anywhere">{name}</dt>
          <dd className="min-w-0 wrap-anywhere">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const PORTION = 50;

/** How many items of a long list to render: a portion at first, another one each time more are asked for. */
export function useWindow(items: readonly unknown[]): { count: number; more: () => void } {
  const [count, setCount] = useState(PORTION);
  const more = useCallback(() => setCount((before) => before + PORTION), []);
  return { count: Math.min(count, items.length), more };
}

/** Asks for more as soon as it is nearly in sight, or when pressed. */
export function More({ shown, of, more }: { shown: number; of: number; more: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = place.current;
    if (!element || typeof IntersectionObserver === "undefined") return undefined;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) more();
      },
      { rootMargin: "600px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [more, shown]);
  if (shown >= of) return null;
  return (
    <div ref={place} className="flex items-center justify-center gap-3 p-3 text-[0.8125rem] text-muted">
      {integer(shown)} of {integer(of)}
      <Button size="sm" onClick={more}>
        Show more
      </Button>
    </div>
  );
}

/** A table that fills a card: its outer columns stand under the card's title, its last row needs no line. */
export const EDGES =
  "max-sm:[&_:is(td,th)]:px-2 [&_tr>:is(td,th):first-child]:pl-4 sm:[&_tr>:is(td,th):first-child]:pl-5 " +
  "sm:[&_tr>:is(td,th):last-child]:pr-5 [&_tbody_tr:last-child>td]:border-b-0";
