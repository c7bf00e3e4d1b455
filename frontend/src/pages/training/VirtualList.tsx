import { ArrowDown } from "lucide-react";
import { useId, useLayoutEffect, useRef, useState } from "react";
import type { KeyboardEvent, ReactNode } from "react";

import { Button } from "@/components/ui";
import { cx } from "@/lib/cx";
import { integer } from "@/lib/format";

const OVERSCAN = 10;
/** How long after a key, wheel or pointer a scroll is the reader's doing. */
const TOUCH_MS = 1500;

export interface VirtualListProps {
  /** What it lists; read out. */
  label: string;
  count: number;
  /** All rows have this height, in pixels. */
  rowHeight: number;
  height: number;
  render: (index: number) => ReactNode;
  /** Makes rows choosable, by mouse and arrow keys. */
  selected?: number | null | undefined;
  onSelect?: ((index: number | null) => void) | undefined;
  /** Long rows scroll sideways instead of being cut. */
  wide?: boolean | undefined;
  className?: string | undefined;
}

/**
 * Rows of which only those in sight exist, so that 100,000 are as light as ten. At the end it stays at the end while
 * rows are added; once scrolled up it stays put and offers the way back.
 */
export function VirtualList(props: VirtualListProps) {
  const { label, count, rowHeight, height, render, selected, onSelect, wide, className } = props;
  const id = useId();
  const frame = useRef<HTMLDivElement>(null);
  const touched = useRef(-Infinity);
  const [top, setTop] = useState(0);
  const [following, setFollowing] = useState(true);
  const [seen, setSeen] = useState(count);

  useLayoutEffect(() => {
    const element = frame.current;
    if (element && following) element.scrollTop = element.scrollHeight;
  }, [count, following, rowHeight, height]);

  const onScroll = () => {
    const element = frame.current;
    if (!element) return;
    if (following && element.scrollTop === 0 && performance.now() - touched.current > TOUCH_MS) {
      // Nobody scrolled: browsers lose the place when they lay the page out again, as for a picture of it.
      element.scrollTop = element.scrollHeight;
    }
    setTop(element.scrollTop);
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < rowHeight;
    if (!atEnd && following) setSeen(count);
    setFollowing(atEnd);
  };

  const touch = () => {
    touched.current = performance.now();
  };

  const move = (event: KeyboardEvent) => {
    touch();
    if (!onSelect || count === 0) return;
    const page = Math.max(1, Math.floor(height / rowHeight) - 1);
    const at = selected ?? (event.key === "ArrowUp" || event.key === "PageUp" ? count : -1);
    const targets: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: count - 1,
    };
    if (event.key === "Escape" && selected !== null) {
      event.preventDefault();
      onSelect(null);
      return;
    }
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const index = Math.min(count - 1, Math.max(0, target));
    onSelect(index);
    const element = frame.current;
    if (!element) return;
    if (index * rowHeight < element.scrollTop) element.scrollTop = index * rowHeight;
    const below = (index + 1) * rowHeight - element.clientHeight;
    if (below > element.scrollTop) element.scrollTop = below;
  };

  const first = Math.max(0, Math.floor(Math.min(top, count * rowHeight - height) / rowHeight) - OVERSCAN);
  const last = Math.min(count, first + Math.ceil(height / rowHeight) + 2 * OVERSCAN);
  const indices = Array.from({ length: Math.max(0, last - first) }, (_, at) => first + at);
  const choosable = onSelect !== undefined;
  const chosen = selected ?? null;
  const fresh = count - seen;
  return (
    <div className={cx("relative min-w-0", className)}>
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- a listbox when it has keys, else it only scrolls */}
      <div
        ref={frame}
        role={choosable ? "listbox" : "region"}
        aria-label={label}
        aria-activedescendant={
          choosable && chosen !== null && chosen >= first && chosen < last ? `${id}-${chosen}` : undefined
        }
        tabIndex={0}
        onScroll={onScroll}
        onWheel={touch}
        onTouchMove={touch}
        onPointerDown={touch}
        onKeyDown={choosable ? move : touch}
        className="overflow-auto -outline-offset-2 [overflow-anchor:none]"
        style={{ height: Math.min(height, Math.max(1, count) * rowHeight + 2) }}
      >
        <div role="presentation" className="relative" style={{ height: count * rowHeight }}>
          <div
            role="presentation"
            className={wide ? "absolute top-0 left-0 min-w-full" : "absolute inset-x-0 top-0"}
            style={{ transform: `translateY(${first * rowHeight}px)` }}
          >
            {indices.map((index) =>
              choosable ? (
                // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the list has the keys (aria-activedescendant)
                <div
                  key={index}
                  id={`${id}-${index}`}
                  role="option"
                  tabIndex={-1}
                  aria-selected={index === chosen}
                  aria-posinset={index + 1}
                  aria-setsize={count}
                  onClick={() => onSelect(index === chosen ? null : index)}
                  className={cx(
                    "cursor-pointer overflow-hidden outline-none",
                    index === chosen ? "bg-accent-soft" : "hover:bg-sunken",
                  )}
                  style={{ height: rowHeight }}
                >
                  {render(index)}
                </div>
              ) : (
                <div key={index} style={{ height: rowHeight }}>
                  {render(index)}
                </div>
              ),
            )}
          </div>
        </div>
      </div>
      {!following && count * rowHeight > height && (
        <div className="pointer-events-none absolute inset-x-0 bottom-3 flex justify-center">
          <Button
            size="sm"
            variant="primary"
            icon={ArrowDown}
            className="pointer-events-auto shadow-md"
            onClick={() => setFollowing(true)}
          >
            {fresh > 0 ? `Jump to newest (${integer(fresh)} new)` : "Jump to newest"}
          </Button>
        </div>
      )}
    </div>
  );
}
