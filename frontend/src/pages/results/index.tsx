import { ChartLine } from "lucide-react";

import { EmptyState, PageHeader } from "@/components/ui";

export default function ResultsPage() {
  return (
    <>
      <PageHeader title="Results" />
      <EmptyState icon={ChartLine} title="Under construction" />
    </>
  );
}
