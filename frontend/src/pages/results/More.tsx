import { useCallback, useEffect, useRef, useState } from "react";

import { Button } from "@/components/ui";
import { integer } from "@/lib/format";

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
