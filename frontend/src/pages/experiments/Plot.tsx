/** A plot as the server draws it, for its reports too; `index.css` colours it. What it shows is said inside. */
export function Plot({ svg, label }: { svg: string; label: string }) {
  return (
    <div
      className="plot overflow-x-auto"
      role="region"
      aria-label={label}
      tabIndex={0}
      dangerouslySetInnerHTML={{ __html: svg }}
    />
  );
}
